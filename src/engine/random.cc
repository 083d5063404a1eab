#include "engine/random.h"

namespace fathom {

std::array<uint32_t, 4> Philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(product0)};
    key = {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u};
  }
  return counter;
}

double RandomStream::Uniform() {
  const double value = Peek(0);
  ++step_;
  return value;
}

double RandomStream::Peek(uint64_t ahead) const {
  const uint64_t step = step_ + ahead;
  const auto low = [](uint64_t x) { return static_cast<uint32_t>(x); };
  const auto high = [](uint64_t x) { return static_cast<uint32_t>(x >> 32); };
  const auto bits = Philox({low(step), high(step), low(stream_), high(stream_)}, {low(seed_), high(seed_)});
  const uint64_t mantissa = (uint64_t{bits[0]} << 21) ^ (uint64_t{bits[1]} >> 11);
  return static_cast<double>(mantissa) * 0x1.0p-53;
}

}  // namespace fathom
