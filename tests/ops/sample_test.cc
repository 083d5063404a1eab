#include "ops/sample/sample.h"

#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "base/error.h"
#include "ops/random_tensor.h"

namespace fathom::ops {
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
std::vector<double> ReferenceDistribution(std::vector<double> scores, const SampleRow& params) {
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

void ExpectDistribution(const std::vector<double>& scores, const SampleRow& params) {
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

TEST(PenalizedScores, RepetitionDividesPositiveAndMultipliesNegativeScoresOfPromptAndAnswerOnce) {
  const std::vector<float> logits = {2, -2, 2, 4, 0};
  const std::vector<SeenToken> seen = {{0, 0}, {1, 0}, {3, 2}, {77, 1}};
  EXPECT_THAT(PenalizedScores(logits, {.repetition_penalty = 2, .seen = seen}), ::testing::ElementsAre(1, -4, 2, 2, 0));
}

TEST(PenalizedScores, PresenceAndFrequencyCountTheAnswerAloneAndBiasesComeFirst) {
  const std::vector<float> logits = {1, 1, 1, -1};
  const std::vector<SeenToken> seen = {{0, 0}, {1, 1}, {2, 3}, {3, -1, 4}};
  EXPECT_THAT(PenalizedScores(logits, {.repetition_penalty = 3, .presence_penalty = 0.5, .frequency_penalty = 0.25, .seen = seen}),
              ::testing::ElementsAre(1.0 / 3, 1.0 / 3 - 0.75, 1.0 / 3 - 1.25, 3));
}

std::vector<int64_t> Choose(const at::Tensor& logits_BV, const std::vector<SampleRow>& rows) {
  const at::Tensor tokens = sample_tokens(logits_BV, rows).to(at::kCPU);
  return {tokens.const_data_ptr<int64_t>(), tokens.const_data_ptr<int64_t>() + tokens.numel()};
}

// Whether `token` is what the formulas choose, or would be with a number at most 1e-8 away.
bool IsChoice(int64_t token, const std::vector<double>& scores, const SampleRow& row) {
  double below = 0;
  for (const TokenProbability& t : SamplingDistribution(scores, row)) {
    if (t.token == token) return t.probability > 0 && row.uniform >= below - 1e-8 && row.uniform <= below + t.probability + 1e-8;
    below += t.probability;
  }
  return false;
}

TEST(SampleTokens, ChoosesByTheDefinitionsForAnyMixOfSettingsAndPenalties) {
  RandomTensors random(71);
  std::mt19937 engine(5);
  std::uniform_real_distribution<double> uniform(0, 1);
  for (const auto dtype : FloatDtypes()) {
    for (const int64_t V : {1, 5, 1000, 4096, 33333}) {
      std::vector<SampleRow> rows;
      std::vector<std::vector<SeenToken>> lists(40);
      for (size_t b = 0; b < lists.size(); ++b) {
        SampleRow row{.temperature = std::array{0.3, 1.0, 2.5, 0.0}[engine() % 4], .top_k = std::array<int64_t, 4>{0, 1, 40, 100000}[engine() % 4],
                      .top_p = std::array{1.0, 0.9, 0.3, 0.0}[engine() % 4], .min_p = std::array{0.0, 0.05, 1.0}[engine() % 3], .uniform = uniform(engine)};
        if (b % 2 == 1) {
          row.repetition_penalty = 1.3;
          row.presence_penalty = 0.4;
          row.frequency_penalty = 0.2;
          for (int64_t token = b % 3; token < std::min<int64_t>(V + 2, 50); token += 3) {
            lists[b].push_back({static_cast<int32_t>(token), static_cast<int32_t>(engine() % 4) - 1, engine() % 5 == 0 ? 1.5 : 0.0});
          }
          row.seen = lists[b];
        }
        rows.push_back(row);
      }
      const auto B = static_cast<int64_t>(rows.size());
      const at::Tensor logits = V % 5 == 0 ? random.NormalSlice({B, V}, dtype, 3) : random.Normal({B, V}, dtype, 2.5);
      const std::vector<int64_t> tokens = Choose(logits, rows);
      const at::Tensor host = logits.to(at::kCPU, at::kFloat).contiguous();
      for (int64_t b = 0; b < B; ++b) {
        const SampleRow& row = rows[static_cast<size_t>(b)];
        const std::vector<double> scores = PenalizedScores({host.const_data_ptr<float>() + b * V, static_cast<size_t>(V)}, row);
        ASSERT_GE(tokens[static_cast<size_t>(b)], 0);
        if (row.temperature == 0) {
          EXPECT_EQ(tokens[static_cast<size_t>(b)], std::max_element(scores.begin(), scores.end()) - scores.begin());
        } else {
          EXPECT_TRUE(IsChoice(tokens[static_cast<size_t>(b)], scores, row)) << c10::toString(dtype) << " V " << V << " row " << b;
        }
      }
    }
  }
}

TEST(SampleTokens, DrawsWithTheFrequenciesOfTheDistribution) {
  constexpr int64_t kDraws = 20000, V = 300;
  std::mt19937_64 engine(3);
  std::uniform_real_distribution<double> uniform(0, 1);
  const std::vector<double> scores = RandomScores(V, 17);
  const at::Tensor logits_V = at::tensor(scores, at::kFloat).to(TestDevice());
  const std::vector<SeenToken> seen = {{4, 1}, {9, 0}, {200, 3}};
  std::vector<SampleRow> rows(kDraws, {.temperature = 0.9, .top_k = 200, .top_p = 0.97, .min_p = 0.002, .repetition_penalty = 1.2,
                                       .presence_penalty = 0.3, .frequency_penalty = 0.1, .seen = seen});
  for (SampleRow& row : rows) row.uniform = uniform(engine);
  std::vector<int64_t> counts(V);
  for (const int64_t token : Choose(logits_V.expand({kDraws, V}), rows)) ++counts.at(static_cast<size_t>(token));
  const at::Tensor host = logits_V.to(at::kCPU);
  double chi_square = 0, degrees = -1;
  int64_t drawn = 0;
  for (const auto& t : SamplingDistribution(PenalizedScores({host.const_data_ptr<float>(), V}, rows[0]), rows[0])) {
    const double expected = t.probability * kDraws;
    chi_square += std::pow(static_cast<double>(counts[static_cast<size_t>(t.token)]) - expected, 2) / expected;
    drawn += counts[static_cast<size_t>(t.token)];
    ++degrees;
  }
  EXPECT_EQ(drawn, kDraws);  // nothing outside of the cuts
  EXPECT_GT(degrees, 20);
  EXPECT_LT(chi_square, degrees + 3.1 * std::sqrt(2 * degrees) + 7);  // one seed in a thousand; the seed is fixed
}

TEST(SampleTokens, AmongEqualScoresTopPKeepsTheLowestIdsAndTopKAllOfThem) {
  // 4096 equal tokens of which half are kept; with top-k alone every one of them.
  const at::Tensor logits = at::full({3, 4096}, 0.5, at::TensorOptions().dtype(at::kBFloat16).device(TestDevice()));
  const SampleRow half{.temperature = 0.7, .top_p = 0.5, .uniform = 0.9999999}, all{.temperature = 0.7, .top_k = 3, .uniform = 0.9999999};
  SampleRow few = half;
  few.top_p = 0.0;
  EXPECT_THAT(Choose(logits, {half, all, few}), ::testing::ElementsAre(2047, 4095, 0));
}

TEST(SampleTokens, NeverChoosesNanOrMinusInfinityAndSaysWhereNothingIsFinite) {
  const auto nan = std::numeric_limits<float>::quiet_NaN();
  const auto inf = std::numeric_limits<float>::infinity();
  const at::Tensor logits = at::tensor(std::vector<float>{nan, 1, -inf, nan, nan, nan, -inf, -inf, nan, 1, -inf, -40}).view({3, 4}).to(TestDevice());
  const SampleRow drawn{.temperature = 1, .uniform = 0.99}, greedy{};
  EXPECT_THAT(Choose(logits, {drawn, drawn, drawn}), ::testing::ElementsAre(1, -1, 1));
  EXPECT_THAT(Choose(logits, {greedy, greedy, greedy}), ::testing::ElementsAre(1, -1, 1));
}

TEST(SampleTokens, TheSameNumbersGiveTheSameTokensInAnyBatch) {
  RandomTensors random(72);
  const at::Tensor logits = random.Normal({32, 50000}, at::kBFloat16, 2.0);
  std::vector<SampleRow> rows(32, {.temperature = 1.1, .top_p = 0.95});
  for (size_t b = 0; b < rows.size(); ++b) rows[b].uniform = (static_cast<double>(b) + 0.5) / 32;
  const std::vector<int64_t> together = Choose(logits, rows);
  EXPECT_EQ(together, Choose(logits, rows));
  for (int64_t b = 0; b < 32; b += 7) EXPECT_EQ(Choose(logits.narrow(0, b, 1), {rows[static_cast<size_t>(b)]})[0], together[static_cast<size_t>(b)]);
}

TEST(SampleTokens, RefusesRowsThatDoNotFit) {
  const at::Tensor logits = at::full({2, 4}, 0.0, at::TensorOptions().device(TestDevice()));
  EXPECT_THROW(sample_tokens(logits, std::vector<SampleRow>(3)), InvariantError);
  EXPECT_THROW(sample_tokens(logits.to(at::kInt), std::vector<SampleRow>(2)), InvariantError);
}

}  // namespace
}  // namespace fathom::ops
