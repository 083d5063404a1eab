// The operators that join several for steps of a few tokens, beside the operators that they join.
#include <ATen/ops/cat.h>
#include <gtest/gtest.h>

#include <optional>
#include <tuple>

#include "base/error.h"
#include "ops/cache/store_latents.h"
#include "ops/cache/store_rows.h"
#include "ops/experts/experts.h"
#include "ops/experts/mix_experts.h"
#include "ops/linear/linear_rows.h"
#include "ops/norm/norm.h"
#include "ops/random_tensor.h"
#include "ops/rope/rope.h"
#include "ops/router/router.h"
#include "ops/swiglu/swiglu.h"
#include "ops/tolerance.h"

namespace fathom::ops {
namespace {

using at::Tensor;

TEST(RouteTokens, ChoosesWhatRouteChoosesFromTheLogits) {
  struct Case {
    int64_t tokens, d, experts;
    RouterParams params;
    bool has_bias;
    at::ScalarType w_dtype;
  };
  const Case cases[] = {{1, 2048, 64, {6, 0, 1, 1, false, false, 1.0}, false, at::kBFloat16},
                        {5, 264, 64, {8, 1, 8, 4, true, true, 2.5}, true, at::kFloat},
                        {3, 90, 16, {2, 0, 4, 2, false, true, 1.0}, false, at::kFloat},
                        {16, 512, 256, {8, 1, 8, 4, true, true, 2.5}, true, at::kBFloat16}};
  RandomTensors random(141);
  for (const Case& c : cases) {
    for (const auto dtype : FloatDtypes()) {
      const Tensor x = random.Normal({c.tokens, c.d}, dtype), w = random.Normal({c.experts, c.d}, c.w_dtype, 0.05);
      const std::optional<Tensor> bias = c.has_bias ? std::optional<Tensor>(random.Normal({c.experts}, at::kFloat, 0.1)) : std::nullopt;
      const Tensor logits = linear_rows(x.to(at::kFloat).contiguous(), w, std::nullopt);
      const auto [weights, chosen] = route_tokens(x, w, bias, c.params);
      const auto [expected_weights, expected] = route(logits, bias, c.params);
      EXPECT_TRUE(IsSame(chosen, expected)) << c.experts << " experts of " << c.d;
      EXPECT_TRUE(IsNear(weights, expected_weights)) << c.experts << " experts of " << c.d;
    }
  }
}

struct Mixture {
  Tensor x, weights, chosen, gate_up, down;
  std::optional<Tensor> shared_gate_up, shared_down;
};

// Each token's choices are distinct; tokens may share them.
Mixture MakeMixture(RandomTensors& random, at::ScalarType dtype, int64_t T, int64_t K, int64_t E, int64_t D, int64_t F, int64_t S) {
  std::vector<int32_t> chosen;
  for (int64_t t = 0; t < T; ++t) {
    for (int64_t k = 0; k < K; ++k) chosen.push_back(static_cast<int32_t>((t * 2 + k * 3) % E));
  }
  Mixture m{random.Normal({T, D}, dtype), random.Normal({T, K}, at::kFloat), IntTensor(chosen).view({T, K}), random.Normal({E, 2 * F, D}, dtype, 0.1),
            random.Normal({E, D, F}, dtype, 0.1), std::nullopt, std::nullopt};
  if (S > 0) {
    m.shared_gate_up = random.Normal({2 * S, D}, dtype, 0.1);
    m.shared_down = random.Normal({D, S}, dtype, 0.1);
  }
  return m;
}

Tensor Mix(const Mixture& m) { return mix_experts(m.x, m.weights, m.chosen, m.gate_up, m.down, m.shared_gate_up, m.shared_down); }

Tensor OneByOne(const Mixture& m) {
  const auto [order, offsets] = sort_by_expert(m.chosen, m.gate_up.size(0));
  const Tensor inner = swiglu(grouped_linear(gather_tokens(m.x, order, m.chosen.size(1)), m.gate_up, offsets));
  const Tensor routed = combine_tokens(grouped_linear(inner, m.down, offsets), order, m.weights);
  if (!m.shared_down) return routed;
  return routed.add(linear_rows(swiglu(linear_rows(m.x, *m.shared_gate_up, std::nullopt)), *m.shared_down, std::nullopt));
}

TEST(MixExperts, EqualsSortProductsAndWeightedSum) {
  RandomTensors random(142);
  for (const auto dtype : FloatDtypes()) {
    for (const auto& [T, K, E, D, F, S] : {std::tuple<int, int, int, int, int, int>{1, 6, 16, 256, 176, 352}, {4, 3, 7, 72, 40, 24},
                                           {3, 2, 5, 264, 88, 0}, {2, 1, 1, 40, 8, 16}, {2, 2, 4, 30, 13, 7}}) {
      const Mixture m = MakeMixture(random, dtype, T, K, E, D, F, S);
      EXPECT_TRUE(IsNear(Mix(m), OneByOne(m))) << T << " tokens, " << E << " experts, " << D << " -> " << F << ", shared " << S;
    }
  }
}

TEST(MixExperts, RefusesManyTokensAndThrowsRatherThanCutTheGraph) {
  RandomTensors random(143);
  EXPECT_THROW(Mix(MakeMixture(random, at::kFloat, kMaxMixedTokens + 1, 2, 4, 16, 8, 0)), InvariantError);
  Mixture m = MakeMixture(random, at::kFloat, 2, 2, 4, 16, 8, 8);
  m.x.requires_grad_(true);
  EXPECT_THROW(Mix(m), InvariantError);
}

TEST(StoreLatents, WritesTheNormalisedLatentAndTheRotatedKeyAndRotatesQueries) {
  RandomTensors random(144);
  for (const auto dtype : FloatDtypes()) {
    for (const bool interleaved : {false, true}) {
      for (const auto& [T, H, R, rope_dim] : {std::tuple<int, int, int, int>{3, 16, 512, 64}, {2, 3, 20, 6}, {1, 17, 32, 8}}) {
        const Tensor cache = random.Normal({7, R + rope_dim}, dtype), before = cache.clone();
        const Tensor slots = IntTensor({5, 0, 2}).to(at::kLong).narrow(0, 0, T).contiguous();
        const Tensor kv_a = random.NormalSlice({T, R + rope_dim}, dtype, 5), w = random.Normal({R}, dtype);
        const Tensor q = random.NormalSlice({T, H, rope_dim}, dtype, 4);
        const Tensor cos = random.Normal({T, rope_dim / 2}, at::kFloat), sin = random.Normal({T, rope_dim / 2}, at::kFloat);
        const Tensor rotated = store_latents(cache, slots, kv_a, w, q, cos, sin, 1e-6, interleaved);
        store_rows(before, slots, rms_norm(kv_a.narrow(1, 0, R), w, 1e-6),
                   rope(kv_a.narrow(1, R, rope_dim).unsqueeze(1), cos, sin, interleaved).squeeze(1));
        EXPECT_TRUE(IsNear(cache, before)) << R << " + " << rope_dim;
        EXPECT_TRUE(IsNear(rotated, rope(q, cos, sin, interleaved))) << H << " heads";
      }
    }
  }
}

}  // namespace
}  // namespace fathom::ops
