#include "engine/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "base/error.h"

namespace fathom {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

std::vector<double> RandomScores(int size, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<double> normal(0, 2.5);
  std::vector<double> scores(size);
  for (double& s : scores) s = normal(engine);
  return scores;
}

std::vector<double> Softmax(std::vector<double> scores) {
  const double best = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (double& s : scores) sum += s = std::exp(s - best);
  for (double& s : scores) s /= sum;
  return scores;
}

// The definitions of transformers' warpers, word for word: each masks with -inf and the next takes a new softmax.
std::vector<double> ReferenceDistribution(std::vector<double> scores, const SamplingParams& params) {
  for (double& s : scores) s /= params.temperature;
  if (params.top_k > 0) {
    std::vector<double> sorted = scores;
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    const double kth = sorted[std::min<size_t>(params.top_k, sorted.size()) - 1];
    for (double& s : scores) s = s < kth ? -kInf : s;
  }
  if (params.top_p < 1.0) {
    std::vector<int> order(scores.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](int a, int b) { return scores[a] < scores[b]; });
    const std::vector<double> p = Softmax(scores);
    double cumulative = 0;
    for (size_t i = 0; i + 1 < order.size(); ++i) {  // the best one always stays
      cumulative += p[order[i]];
      if (cumulative <= 1 - params.top_p) scores[order[i]] = -kInf;
    }
  }
  if (params.min_p > 0) {
    const std::vector<double> p = Softmax(scores);
    const double best = *std::max_element(p.begin(), p.end());
    for (size_t i = 0; i < p.size(); ++i) scores[i] = p[i] < params.min_p * best ? -kInf : scores[i];
  }
  return Softmax(scores);
}

void ExpectDistribution(const std::vector<double>& scores, const SamplingParams& params) {
  const std::vector<double> expected = ReferenceDistribution(scores, params);
  std::vector<double> got(scores.size(), 0);
  int32_t previous = -1;
  for (const TokenProbability& t : SamplingDistribution(scores, params)) {
    ASSERT_GT(t.token, previous);
    previous = t.token;
    got[t.token] = t.probability;
  }
  for (size_t i = 0; i < scores.size(); ++i) ASSERT_NEAR(got[i], expected[i], 1e-12) << "token " << i;
}

TEST(SamplingDistribution, EqualsTheDefinitionsForAnyMixOfCuts) {
  unsigned seed = 0;
  for (const int size : {1, 2, 7, 300}) {
    for (const double temperature : {0.2, 1.0, 3.0}) {
      for (const int64_t top_k : {0, 1, 5, 1000}) {
        for (const double top_p : {1.0, 0.9, 0.5, 0.01, 0.0}) {
          for (const double min_p : {0.0, 0.05, 0.4, 1.0}) {
            SCOPED_TRACE(::testing::Message() << size << " T" << temperature << " k" << top_k << " p" << top_p << " m" << min_p);
            ExpectDistribution(RandomScores(size, ++seed), {.temperature = temperature, .top_k = top_k, .top_p = top_p, .min_p = min_p});
          }
        }
      }
    }
  }
}

TEST(SamplingDistribution, TopKKeepsWhatEqualsTheKth) {
  const std::vector<double> scores = {1, 3, 2, 2, 0};
  std::vector<int32_t> kept;
  for (const auto& t : SamplingDistribution(scores, {.temperature = 1, .top_k = 2})) kept.push_back(t.token);
  EXPECT_THAT(kept, ::testing::ElementsAre(1, 2, 3));
}

TEST(SamplingDistribution, BannedTokensOfMinusInfinityNeverCome) {
  const std::vector<double> scores = {-kInf, 0.0, -kInf, 0.0};
  for (const auto& t : SamplingDistribution(scores, {.temperature = 1})) {
    EXPECT_DOUBLE_EQ(t.probability, t.token % 2 == 1 ? 0.5 : 0.0);
  }
}

TEST(Sampler, DrawsWithTheFrequenciesOfTheDistribution) {
  const std::vector<float> logits = {0.5f, -1.0f, 2.0f, 0.0f, 1.0f, -3.0f};
  const SamplingParams params{.temperature = 0.8, .top_k = 5, .top_p = 0.98, .seed = 11};
  const std::vector<double> scores(logits.begin(), logits.end());
  Sampler sampler(params, {}, 0);
  std::vector<int> counts(logits.size());
  constexpr int kDraws = 40000;
  for (int i = 0; i < kDraws; ++i) ++counts[sampler.Choose(logits)];
  double chi_square = 0;
  int kept = 0;
  for (const auto& t : SamplingDistribution(scores, params)) {
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

TEST(Penalties, RepetitionDividesPositiveAndMultipliesNegativeScoresOfPromptAndAnswerOnce) {
  TokenHistory history(std::vector<int32_t>{0, 1, 1});
  history.Append(3);
  history.Append(3);
  const std::vector<float> logits = {2, -2, 2, 4, 0};
  EXPECT_THAT(PenalizedScores(logits, {.repetition_penalty = 2}, history), ::testing::ElementsAre(1, -4, 2, 2, 0));
}

TEST(Penalties, PresenceAndFrequencyCountTheAnswerAlone) {
  TokenHistory history(std::vector<int32_t>{0, 1});
  for (const int32_t token : {1, 2, 2, 2}) history.Append(token);
  const std::vector<float> logits = {1, 1, 1, 1};
  EXPECT_THAT(PenalizedScores(logits, {.presence_penalty = 0.5, .frequency_penalty = 0.25}, history),
              ::testing::ElementsAre(1, 0.25, -0.25, 1));
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
