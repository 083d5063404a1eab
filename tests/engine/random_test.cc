#include "engine/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace fathom {
namespace {

TEST(Random, PhiloxGivesThePublishedKnownAnswers) {
  // kat_vectors of the Random123 distribution, philox4x32 with 10 rounds.
  using Block = std::array<uint32_t, 4>;
  EXPECT_EQ(Philox({0, 0, 0, 0}, {0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t f = 0xffffffff;
  EXPECT_EQ(Philox({f, f, f, f}, {f, f}), (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, AStreamIsTheSameEveryTimeAndStreamsAndSeedsDiffer) {
  const auto draw = [](uint64_t seed, uint64_t stream) {
    RandomStream random(seed, stream);
    return std::vector<double>{random.Uniform(), random.Uniform(), random.Uniform()};
  };
  EXPECT_EQ(draw(7, 0), draw(7, 0));
  EXPECT_NE(draw(7, 0), draw(7, 1));
  EXPECT_NE(draw(7, 0), draw(8, 0));
  EXPECT_NE(draw(7, 0), draw(7 + (uint64_t{1} << 32), 0));
}

TEST(Random, UniformFillsTheUnitIntervalEvenly) {
  RandomStream random(1, 2);
  constexpr int kBins = 64, kDraws = 64000;
  std::vector<int> bins(kBins);
  for (int i = 0; i < kDraws; ++i) {
    const double u = random.Uniform();
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    ++bins[static_cast<int>(u * kBins)];
  }
  double chi_square = 0;
  for (const int count : bins) chi_square += std::pow(count - kDraws / kBins, 2) / (kDraws / kBins);
  EXPECT_LT(chi_square, 103.4);  // 63 degrees of freedom: exceeded once in 1000 seeds, and this seed is fixed
}

}  // namespace
}  // namespace fathom
