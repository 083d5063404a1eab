// Random numbers that are the same on every machine: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
#pragma once

#include <array>
#include <cstdint>

namespace fathom {

// The block function: 128 bits of counter and 64 of key to 128 random bits.
std::array<uint32_t, 4> Philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// Stream `stream` of `seed`: streams of one seed are independent of each other.
class RandomStream {
 public:
  RandomStream(uint64_t seed, uint64_t stream) : seed_(seed), stream_(stream) {}
  // Uniform in [0, 1), a multiple of 2^-53.
  double Uniform();
  // What the Uniform after `ahead` others will give.
  double Peek(uint64_t ahead) const;
  void Skip(uint64_t count) { step_ += count; }

 private:
  uint64_t seed_, stream_, step_ = 0;
};

}  // namespace fathom
