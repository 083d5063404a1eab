// Random numbers and orders that are computed from what they belong to, so that nothing needs to be stored: the same everywhere.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace fathom {

// 64 random bits that belong to these numbers (SplitMix64's finalizer over them in turn; Steele et al., OOPSLA 2014).
uint64_t RandomBits(std::initializer_list<uint64_t> numbers);
// Uniform in [0, 1).
inline double UnitOf(uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1p-53; }
// Uniform in [0, count); count > 0.
uint64_t BelowOf(uint64_t bits, uint64_t count);

// A random permutation of [0, size): a Feistel network over the next power of four, walked until it falls inside (Black and Rogaway, "Ciphers with
// arbitrary finite domains", CT-RSA 2002). Each At costs O(1) and no memory.
class RandomOrder {
 public:
  RandomOrder(uint64_t size, uint64_t key);
  uint64_t At(uint64_t index) const;

 private:
  uint64_t size_, key_;
  int half_bits_;
};

}  // namespace fathom
