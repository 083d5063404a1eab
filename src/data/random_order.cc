#include "data/random_order.h"

#include <bit>

#include "base/error.h"

namespace fathom {
namespace {

uint64_t Finalize(uint64_t x) {
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ x >> 27) * 0x94D049BB133111EBull;
  return x ^ x >> 31;
}

constexpr int kNumRounds = 6;

}  // namespace

uint64_t RandomBits(std::initializer_list<uint64_t> numbers) {
  uint64_t state = 0;
  for (const uint64_t number : numbers) state = Finalize(state + 0x9E3779B97F4A7C15ull + Finalize(number + 0x9E3779B97F4A7C15ull));
  return state;
}

uint64_t BelowOf(uint64_t bits, uint64_t count) { return static_cast<uint64_t>(static_cast<unsigned __int128>(bits) * count >> 64); }

RandomOrder::RandomOrder(uint64_t size, uint64_t key) : size_(size), key_(key), half_bits_((std::bit_width(size > 1 ? size - 1 : 1) + 1) / 2) {}

uint64_t RandomOrder::At(uint64_t index) const {
  FATHOM_CHECK(index < size_, "index {} of {}", index, size_);
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  uint64_t value = index;
  do {
    uint64_t left = value >> half_bits_, right = value & mask;
    for (int round = 0; round < kNumRounds; ++round) {
      const uint64_t mixed = (left ^ Finalize(key_ + Finalize(right + 0x9E3779B97F4A7C15ull * static_cast<uint64_t>(round + 1)))) & mask;
      left = right;
      right = mixed;
    }
    value = left << half_bits_ | right;
  } while (value >= size_);
  return value;
}

}  // namespace fathom
