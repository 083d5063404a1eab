#include "engine/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <deque>
#include <limits>

#include "base/error.h"

namespace fathom {
namespace {

TEST(Sampler, DrawsWithTheFrequenciesOfTheDistribution) {
  const std::vector<float> logits = {0.5f, -1.0f, 2.0f, 0.0f, 1.0f, -3.0f};
  const SamplingParams params{.temperature = 0.8, .top_k = 5, .top_p = 0.98, .seed = 11};
  const std::vector<double> scores(logits.begin(), logits.end());
  std::deque<std::vector<ops::SeenToken>> lists;
  Sampler sampler(params, {}, 0);
  std::vector<int> counts(logits.size());
  constexpr int kDraws = 40000;
  for (int i = 0; i < kDraws; ++i) ++counts[sampler.Choose(logits)];
  double chi_square = 0;
  int kept = 0;
  for (const auto& t : ops::SamplingDistribution(scores, sampler.Row({}, lists))) {
    const double expected = t.probability * kDraws;
    chi_square += std::pow(counts[t.token] - expected, 2) / expected;
    kept += counts[t.token];
  }
  EXPECT_EQ(kept, kDraws);
  EXPECT_LT(chi_square, 18.5);  // at most 4 degrees of freedom, one in 1000 seeds; the seed is fixed
}

TEST(Sampler, SameSeedSameTokensOtherSeedOrStreamOthers) {
  const auto draw = [](uint64_t seed, uint64_t stream) {
    Sampler sampler({.temperature = 1.0, .seed = seed}, {}, stream);
    const std::vector<float> logits(50, 0.0f);
    std::vector<int32_t> tokens;
    for (int i = 0; i < 20; ++i) tokens.push_back(sampler.Choose(logits));
    return tokens;
  };
  EXPECT_EQ(draw(3, 0), draw(3, 0));
  EXPECT_NE(draw(3, 0), draw(4, 0));
  EXPECT_NE(draw(3, 0), draw(3, 1));
}

TEST(Sampler, GreedyTakesTheLowestIdOfTheBest) {
  Sampler sampler({}, {}, 0);
  EXPECT_EQ(sampler.Choose(std::vector<float>{1, 4, 4, 2}), 1);
}

TEST(Sampler, ARowWithoutAFiniteLogitIsAnErrorAndNanIsNeverChosen) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Sampler greedy({}, {}, 0), sampled({.temperature = 1}, {}, 0);
  EXPECT_EQ(greedy.Choose(std::vector<float>{nan, 1, nan}), 1);
  EXPECT_EQ(sampled.Choose(std::vector<float>{nan, 1, nan}), 1);
  EXPECT_THROW(greedy.Choose(std::vector<float>{nan, nan}), MachineError);
  EXPECT_THROW(sampled.Choose(std::vector<float>{nan, nan}), MachineError);
}

TEST(Sampler, ARowSaysWhatItsPenaltiesSee) {
  Sampler sampler({.frequency_penalty = 1, .logit_bias = {{9, 2.0}, {1, 0.5}}}, std::vector<int32_t>{0, 1, 1}, 0);
  sampler.Accept(3);
  sampler.Accept(1);
  std::deque<std::vector<ops::SeenToken>> lists;
  const auto seen = [](const ops::SampleRow& row) {
    std::vector<std::array<double, 3>> entries;
    for (const ops::SeenToken& token : row.seen) entries.push_back({static_cast<double>(token.token), static_cast<double>(token.count), token.bias});
    return entries;
  };
  using Entry = std::array<double, 3>;
  EXPECT_THAT(seen(sampler.Row({}, lists)), ::testing::UnorderedElementsAre(Entry{9, -1, 2}, Entry{1, 1, 0.5}, Entry{0, 0, 0}, Entry{3, 1, 0}));
  EXPECT_THAT(seen(sampler.Row(std::vector<int32_t>{3, 4}, lists)),
              ::testing::UnorderedElementsAre(Entry{9, -1, 2}, Entry{1, 1, 0.5}, Entry{0, 0, 0}, Entry{3, 2, 0}, Entry{4, 1, 0}));
  EXPECT_EQ(seen(sampler.Row({}, lists)).size(), 4u);
}

TEST(Sampler, RowsOfGuessesDrawWithTheNumbersThatTheirTurnsWillHave) {
  const SamplingParams params{.temperature = 1, .seed = 5};
  Sampler ahead(params, {}, 2), behind(params, {}, 2);
  std::deque<std::vector<ops::SeenToken>> lists;
  const std::vector<int32_t> guesses = {1, 2, 3};
  for (size_t d = 0; d <= guesses.size(); ++d) {
    EXPECT_EQ(ahead.Row(std::span(guesses).first(d), lists).uniform, behind.Row({}, lists).uniform) << d;
    behind.Accept(0);
  }
  EXPECT_THROW(behind.Accept(-1), MachineError);
}

TEST(Penalties, GreedyObeysThemAndForgetsNoChoice) {
  Sampler sampler({.presence_penalty = 10}, {}, 0);
  const std::vector<float> logits = {3, 2, 1};
  EXPECT_EQ(sampler.Choose(logits), 0);
  EXPECT_EQ(sampler.Choose(logits), 1);
  EXPECT_EQ(sampler.Choose(logits), 2);
  EXPECT_EQ(sampler.Choose(logits), 0);
}

TEST(Logprobs, AreTheLogSoftmaxOfTheModelsOwnLogits) {
  const std::vector<float> logits = {1.0f, 100.0f, 99.0f, 99.0f};
  const TokenLogprob got = LogprobsOf(logits, 0, 3);
  const double log_sum = 100 + std::log(1 + 2 * std::exp(-1.0) + std::exp(-99.0));
  EXPECT_NEAR(got.logprob, 1 - log_sum, 1e-12);
  ASSERT_EQ(got.top.size(), 3u);
  EXPECT_EQ(got.top[0].first, 1);
  EXPECT_EQ(got.top[1].first, 2);
  EXPECT_EQ(got.top[2].first, 3);
  EXPECT_NEAR(got.top[1].second, 99 - log_sum, 1e-12);
  EXPECT_TRUE(LogprobsOf(logits, 2, 0).top.empty());
  EXPECT_EQ(LogprobsOf(logits, 2, 50).top.size(), 4u);
}

TEST(CheckSampling, NamesTheFlagAndTheValue) {
  const auto message = [](const SamplingParams& params) -> std::string {
    try {
      CheckSampling(params);
    } catch (const UserError& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(message({}), "");
  EXPECT_EQ(message({.temperature = -1}), "--temperature must be a number of at least 0, got -1");
  EXPECT_EQ(message({.top_k = -1}), "--top-k must be an integer of at least 0 (0 is off), got -1");
  EXPECT_EQ(message({.top_p = 1.5}), "--top-p must be from 0 to 1, got 1.5");
  EXPECT_EQ(message({.min_p = -0.1}), "--min-p must be from 0 to 1, got -0.1");
  EXPECT_EQ(message({.repetition_penalty = 0}), "--repetition-penalty must be above 0, got 0");
  EXPECT_NE(message({.temperature = std::nan("")}), "");
}

}  // namespace
}  // namespace fathom
