// Cross-entropy, AdamW, balance and MLA's training attention beside their formulas in float64.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "ops/adamw/adamw.h"
#include "ops/attention/mla_attention.h"
#include "ops/attention_reference.h"
#include "ops/balance/balance.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/gradients.h"
#include "ops/random_tensor.h"
#include "ops/router/router.h"
#include "ops/router/router_logits.h"
#include "ops/tolerance.h"

namespace fathom::ops {
namespace {

at::Tensor LongTensor(const std::vector<int64_t>& values) { return at::tensor(values, at::kLong).to(TestDevice()); }

// sum of weight (nll + z lse^2) / denominator in float64.
at::Tensor LossFormula(const at::Tensor& hidden, const at::Tensor& w, const at::Tensor& targets, const at::Tensor& weights, double z_loss) {
  const at::Tensor logits = at::matmul(hidden.to(at::kDouble), w.to(at::kDouble).t()), counted = targets.ne(kIgnoredTarget);
  const at::Tensor lse = logits.logsumexp(1), target = targets.masked_fill(counted.logical_not(), 0);
  const at::Tensor nll = lse.sub(logits.gather(1, target.unsqueeze(1)).squeeze(1)).add(lse.mul(lse), z_loss);
  const at::Tensor scale = counted.to(at::kDouble).mul(weights.to(at::kDouble));
  return nll.mul(scale).sum().div(scale.sum());
}

TEST(CrossEntropy, MatchesTheFormulaAndItsGradientsInChunksOfEverySize) {
  RandomTensors random(101);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const int64_t chunk : {0, 1, 4, 11, 64}) {
      const int64_t T = 11, D = 24, V = 57;
      const at::Tensor hidden = random.Normal({T, D}, dtype), w = random.Normal({V, D}, dtype, 0.3);
      const at::Tensor targets = LongTensor({3, 0, 56, kIgnoredTarget, 7, 7, 1, kIgnoredTarget, 2, 33, 21});
      const at::Tensor weights = random.Normal({T}, at::kFloat).abs();
      for (const double z_loss : {0.0, 1e-2}) {
        const CrossEntropyOptions options{.weights_T = weights, .z_loss = z_loss, .chunk_rows = chunk};
        // The gradient of bf16 logits is rounded to bf16.
        ExpectSameGradients({hidden, w}, {at::full({}, 0.37, hidden.options().dtype(at::kFloat))},
                            [&](const auto& in) { return std::vector{linear_cross_entropy(in[0], in[1], targets, options).loss.to(dtype)}; },
                            [&](const auto& in) { return std::vector{LossFormula(in[0], in[1], targets, weights, z_loss)}; });
      }
    }
  }
}

TEST(CrossEntropy, GivesEachTokensLossAndDividesByTheDenominator) {
  RandomTensors random(102);
  const at::Tensor hidden = random.Normal({5, 8}, at::kFloat), w = random.Normal({40, 8}, at::kFloat);
  const at::Tensor targets = LongTensor({1, 39, kIgnoredTarget, 0, 5});
  const CrossEntropy result = linear_cross_entropy(hidden, w, targets, {.denominator = at::full({1}, 10.0, hidden.options())});
  const at::Tensor logits = at::matmul(hidden.to(at::kDouble), w.to(at::kDouble).t());
  at::Tensor nll = logits.log_softmax(1).gather(1, targets.clamp_min(0).unsqueeze(1)).squeeze(1).neg();
  nll = nll.masked_fill(targets.eq(kIgnoredTarget), 0);
  EXPECT_TRUE(IsNear(result.nll_T, nll, at::kFloat));
  EXPECT_TRUE(IsNear(result.loss, nll.sum().div(10), at::kFloat));
}

TEST(CrossEntropy, IsZeroWhereEveryTargetIsIgnored) {
  RandomTensors random(103);
  const at::Tensor hidden = random.Normal({3, 8}, at::kFloat).requires_grad_(true), w = random.Normal({9, 8}, at::kFloat);
  const CrossEntropy result = linear_cross_entropy(hidden, w, LongTensor({-100, -100, -100}));
  result.loss.backward();
  EXPECT_EQ(result.loss.item<float>(), 0.0f);
  EXPECT_EQ(hidden.grad().abs().max().item<float>(), 0.0f);
}

TEST(CrossEntropy, StaysFiniteForLargeLogits) {
  const at::Tensor hidden = at::tensor({300.0, -300.0}, at::kDouble).view({2, 1}).to(at::kFloat).to(TestDevice()).requires_grad_(true);
  const at::Tensor w = at::tensor({1.0, -1.0, 0.5, 0.0}, at::kDouble).view({4, 1}).to(at::kFloat).to(TestDevice());
  const CrossEntropy result = linear_cross_entropy(hidden, w, LongTensor({0, 0}));
  result.loss.backward();
  EXPECT_NEAR(result.loss.item<double>(), 300.0, 1e-3);
  EXPECT_TRUE(hidden.grad().isfinite().all().item<bool>());
}

struct AdamWCase {
  at::ScalarType weight, gradient, moment;
  bool masters;
};

TEST(AdamW, MatchesTheFormulaForManyTensorsInEveryPrecision) {
  RandomTensors random(104);
  const std::vector<AdamWCase> cases = {{at::kFloat, at::kFloat, at::kFloat, false},       {at::kBFloat16, at::kBFloat16, at::kBFloat16, false},
                                        {at::kBFloat16, at::kBFloat16, at::kFloat, true},  {at::kBFloat16, at::kFloat, at::kFloat, true},
                                        {at::kBFloat16, at::kFloat, at::kBFloat16, true}, {at::kHalf, at::kHalf, at::kFloat, true}};
  for (const AdamWCase& c : cases) {
    AdamWTensors tensors;
    std::vector<at::Tensor> w64, m64, v64;
    for (const int64_t n : {1, 7, 1000, 40000, 3, 65537}) {
      tensors.weights.push_back(random.Normal({n}, c.weight));
      tensors.gradients.push_back(random.Normal({n}, c.gradient));
      tensors.first_moments.push_back(random.Normal({n}, c.moment, 0.1));
      tensors.second_moments.push_back(random.Normal({n}, c.moment, 0.1).abs());
      if (c.masters) tensors.masters.push_back(tensors.weights.back().to(at::kFloat));
      w64.push_back(tensors.weights.back().to(at::kDouble));
      m64.push_back(tensors.first_moments.back().to(at::kDouble));
      v64.push_back(tensors.second_moments.back().to(at::kDouble));
    }
    const AdamWOptions options{.lr = 0.02, .weight_decay = 0.3, .max_norm = 1.5, .step = 3};
    const at::Tensor norm = gradient_norm(tensors.gradients);
    double squares = 0;
    for (const at::Tensor& g : tensors.gradients) squares += g.to(at::kDouble).pow(2).sum().item<double>();
    EXPECT_NEAR(norm.item<double>(), std::sqrt(squares), 1e-5 * std::sqrt(squares));
    adamw(tensors, norm, options);
    for (size_t i = 0; i < w64.size(); ++i) {
      const at::Tensor g = tensors.gradients[i].to(at::kDouble).mul(options.max_norm / std::sqrt(squares));
      const at::Tensor m = m64[i].mul(options.beta1).add(g, 1 - options.beta1), v = v64[i].mul(options.beta2).add(g.mul(g), 1 - options.beta2);
      const at::Tensor root = v.div(1 - std::pow(options.beta2, 3)).sqrt().add(options.eps);
      const at::Tensor w = w64[i].mul(1 - options.lr * options.weight_decay).sub(m.div(1 - std::pow(options.beta1, 3)).div(root).mul(options.lr));
      EXPECT_TRUE(IsNear(tensors.first_moments[i], m, c.moment));
      EXPECT_TRUE(IsNear(tensors.second_moments[i], v, c.moment));
      EXPECT_TRUE(IsNear(tensors.weights[i], w, c.weight));
      if (c.masters) {
        EXPECT_TRUE(IsNear(tensors.masters[i], w, at::kFloat));
        EXPECT_TRUE(IsSame(tensors.weights[i], tensors.masters[i].to(c.weight))) << "the weights are their masters' rounding";
      }
    }
  }
}

TEST(AdamW, WritesNothingWhereTheNormIsNotFinite) {
  RandomTensors random(105);
  AdamWTensors tensors;
  tensors.weights = {random.Normal({100}, at::kFloat)};
  tensors.gradients = {random.Normal({100}, at::kFloat)};
  tensors.gradients[0][3] = std::numeric_limits<float>::quiet_NaN();
  tensors.first_moments = {at::zeros_like(tensors.weights[0])};
  tensors.second_moments = {at::zeros_like(tensors.weights[0])};
  const at::Tensor before = tensors.weights[0].clone();
  adamw(tensors, gradient_norm(tensors.gradients), {.max_norm = 1});
  EXPECT_TRUE(IsSame(tensors.weights[0], before));
  EXPECT_EQ(tensors.first_moments[0].abs().max().item<float>(), 0);
}

TEST(AdamW, LetsTheVersionOfItsWeightsTellThatTheyChanged) {
  RandomTensors random(107);
  AdamWTensors tensors;
  const at::Tensor leaf = random.Normal({8}, at::kFloat);
  tensors.weights = {leaf.detach()};
  tensors.gradients = {at::ones_like(leaf)};
  tensors.first_moments = {at::zeros_like(leaf)};
  tensors.second_moments = {at::zeros_like(leaf)};
  const int64_t before = leaf._version();
  adamw(tensors, gradient_norm(tensors.gradients), {});
  EXPECT_GT(leaf._version(), before);
}

TEST(AdamW, TakesMoreTensorsThanOneLaunchHolds) {
  RandomTensors random(106);
  AdamWTensors tensors;
  std::vector<at::Tensor> expected;
  for (int i = 0; i < 600; ++i) {
    tensors.weights.push_back(random.Normal({i % 9 + 1}, at::kFloat));
    tensors.gradients.push_back(at::ones_like(tensors.weights.back()));
    tensors.first_moments.push_back(at::zeros_like(tensors.weights.back()));
    tensors.second_moments.push_back(at::zeros_like(tensors.weights.back()));
    expected.push_back(tensors.weights.back().to(at::kDouble).sub(0.5));  // the first step moves by lr
  }
  adamw(tensors, gradient_norm(tensors.gradients), {.lr = 0.5, .weight_decay = 0});
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_TRUE(IsNear(tensors.weights[i], expected[i], at::kFloat)) << i;
}

TEST(RouterLogits, HaveTheFormulasGradientBeyondBf16) {
  RandomTensors random(112);
  for (const auto dtype : FloatDtypes()) {
    const at::Tensor x = random.Normal({37, 48}, dtype), w = random.Normal({16, 48}, dtype), dy = random.Normal({37, 16}, at::kFloat);
    const at::Tensor x_leaf = x.clone().requires_grad_(true), w_leaf = w.clone().requires_grad_(true);
    const at::Tensor logits = router_logits(x_leaf, w_leaf);
    EXPECT_TRUE(IsNear(logits, at::matmul(x.to(at::kDouble), w.to(at::kDouble).t()), at::kFloat));
    logits.backward(dy);
    const at::Tensor dx = at::matmul(dy.to(at::kDouble), w.to(at::kDouble)), dw = at::matmul(dy.to(at::kDouble).t(), x.to(at::kDouble));
    EXPECT_TRUE(IsNear(x_leaf.grad(), dx, dtype));
    EXPECT_TRUE(IsNear(w_leaf.grad(), dw, dtype));
    // Nothing is lost but the result's own rounding.
    if (dtype == at::kFloat) continue;
    EXPECT_LT(x_leaf.grad().ne(dx.to(dtype)).to(at::kDouble).mean().item<double>(), 0.05);
  }
}

at::Tensor NormalScores(const at::Tensor& logits, int64_t score_func) {
  const at::Tensor s = score_func == 1 ? logits.sigmoid() : logits.softmax(1);
  return s.div(s.sum(1, true));
}

TEST(Balance, CountsChoices) {
  RandomTensors random(107);
  const at::Tensor choices = random.Integers(0, 13, {501, 3});
  const at::Tensor expected = at::bincount(choices.flatten().to(at::kCPU, at::kLong), {}, 13);
  EXPECT_TRUE(count_choices(choices, 13).to(at::kCPU, at::kLong).equal(expected));
  EXPECT_EQ(count_choices(random.Integers(0, 13, {0, 3}), 13).sum().item<int64_t>(), 0);
}

TEST(Balance, LossAndGradientMatchTheFormulaForEachSequence) {
  RandomTensors random(108);
  const int64_t T = 150, E = 12, K = 3;
  const std::vector<int64_t> limits = {0, 1, 1, 90, 150};
  const at::Tensor cu = IntTensor({0, 1, 1, 90, 150});
  for (const int64_t score_func : {0, 1}) {
    const at::Tensor logits = random.Normal({T, E}, at::kFloat);
    const auto [weights, topk_idx] = route(logits, std::nullopt, {.top_k = K, .score_func = score_func});
    const auto [f, p] = balance_terms(logits, topk_idx, cu, score_func);
    const at::Tensor leaf = logits.to(at::kDouble).requires_grad_(true);
    at::Tensor loss = at::zeros({}, leaf.options());
    for (size_t b = 0; b + 1 < limits.size(); ++b) {
      const int64_t first = limits[b], n = limits[b + 1] - first;
      if (n == 0) continue;
      const at::Tensor counts = at::bincount(topk_idx.narrow(0, first, n).flatten().to(at::kLong), {}, E).to(at::kDouble);
      const at::Tensor f_E = counts.mul(static_cast<double>(E) / static_cast<double>(K * n)), p_E = NormalScores(leaf.narrow(0, first, n), score_func).mean(0);
      EXPECT_TRUE(IsNear(f[static_cast<int64_t>(b)], f_E, at::kFloat));
      EXPECT_TRUE(IsNear(p[static_cast<int64_t>(b)], p_E, at::kFloat));
      loss = loss.add(f_E.mul(p_E).sum().mul(static_cast<double>(n) / static_cast<double>(T)));
    }
    const double alpha = 0.7;
    loss.mul(alpha).backward();
    // Nothing but the balance loss: the weights get a zero gradient.
    const at::Tensor own = logits.clone().requires_grad_(true);
    const at::Tensor attached = attach_balance_loss(weights, own, f, cu, at::full({1}, alpha, logits.options()), score_func);
    EXPECT_TRUE(IsSame(attached, weights));
    attached.mul(0).sum().backward();
    EXPECT_TRUE(IsNear(own.grad(), leaf.grad(), at::kFloat)) << score_func;
  }
}

TEST(MlaAttention, RotatesTheTailOfEachHead) {
  RandomTensors random(109);
  for (const auto dtype : FloatDtypes()) {
    for (const bool interleaved : {false, true}) {
      for (const auto& [D, rope] : std::vector<std::pair<int64_t, int64_t>>{{192, 64}, {10, 4}, {8, 8}}) {
        const at::Tensor q = random.Normal({5, 3, D}, dtype), dy = random.Normal({5, 3, D}, dtype);
        const at::Tensor cos = random.Normal({5, rope / 2}, at::kFloat), sin = random.Normal({5, rope / 2}, at::kFloat);
        const auto formula = [&](const std::vector<at::Tensor>& in) {
          const int64_t nope = D - rope;
          const at::Tensor tail = in[0].narrow(2, nope, rope), c = cos.to(at::kDouble).unsqueeze(1), s = sin.to(at::kDouble).unsqueeze(1);
          const at::Tensor pairs = tail.reshape({5, 3, rope / 2, 2});
          const at::Tensor a = interleaved ? pairs.select(3, 0) : tail.narrow(2, 0, rope / 2);
          const at::Tensor b = interleaved ? pairs.select(3, 1) : tail.narrow(2, rope / 2, rope / 2);
          return std::vector{at::cat({in[0].narrow(2, 0, nope), a.mul(c).sub(b.mul(s)), b.mul(c).add(a.mul(s))}, 2)};
        };
        ExpectSameGradients({q}, {dy}, [&](const auto& in) { return std::vector{rope_tail(in[0], cos, sin, interleaved)}; }, formula);
      }
    }
  }
}

// max_len > 0 with sequences of one length is what a library's kernel takes on a GPU.
void ExpectMlaAttention(RandomTensors& random, const std::vector<int64_t>& lens, int64_t H, int64_t nope, int64_t rope, int64_t v, at::ScalarType dtype,
                        int64_t max_len) {
  std::vector<int32_t> limits = {0};
  std::vector<Lengths> lengths;
  for (const int64_t n : lens) {
    limits.push_back(limits.back() + static_cast<int32_t>(n));
    lengths.push_back({n, n});
  }
  const int64_t T = limits.back();
  const double scale = 1.0 / std::sqrt(static_cast<double>(nope + rope));
  const at::Tensor cu = IntTensor(limits), q = random.Normal({T, H, nope + rope}, dtype), kv = random.Normal({T, H, nope + v}, dtype);
  const at::Tensor k_rope = random.Normal({T, rope}, dtype), dy = random.Normal({T, H, v}, dtype);
  ExpectSameGradients({q, kv, k_rope}, {dy},
                      [&](const auto& in) { return std::vector{mla_packed_attention(in[0], in[1], in[2], cu, scale, std::nullopt, max_len)}; },
                      [&](const auto& in) {
                        const at::Tensor k = at::cat({in[1].narrow(2, 0, nope), in[2].unsqueeze(1).expand({T, H, rope})}, 2);
                        return std::vector{PackedReference(in[0], k, in[1].narrow(2, nope, v), lengths, scale, -1, std::nullopt)};
                      });
}

TEST(MlaAttention, HasTheFormulasGradientsOverSequencesOfOddLengths) {
  RandomTensors random(110);
  for (const auto dtype : FloatDtypes()) {
    ExpectMlaAttention(random, {1, 33, 70}, 3, 16, 8, 16, dtype, 0);
    ExpectMlaAttention(random, {1, 33, 70}, 2, 6, 4, 7, dtype, 70);
    ExpectMlaAttention(random, {19, 140}, 2, 128, 64, 128, dtype, 140);
  }
}

TEST(MlaAttention, HasTheFormulasGradientsOverSequencesOfOneLength) {
  RandomTensors random(111);
  for (const auto dtype : FloatDtypes()) {
    for (const int64_t n : {64, 130, 257}) ExpectMlaAttention(random, {n, n, n}, 4, 128, 64, 128, dtype, n);
  }
}

}  // namespace
}  // namespace fathom::ops
