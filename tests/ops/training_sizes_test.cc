// Operators that have kernels of their own for many rows (training, prefill), beside their formulas in float64 at such sizes.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ops/attention/mla_attention.h"
#include "ops/cache/store_latents.h"
#include "ops/cache/store_rows.h"
#include "ops/experts/experts.h"
#include "ops/gradients.h"
#include "ops/library.h"
#include "ops/norm/norm.h"
#include "ops/norm_formula.h"
#include "ops/random_tensor.h"
#include "ops/rope/rope.h"
#include "ops/swiglu/swiglu.h"
#include "ops/tolerance.h"

namespace fathom::ops {
namespace {

constexpr double kEps = 1e-6;

TEST(ManyRows, NormsMatchTheFormulaAndItsGradientsWhereARowIsAWarpOrABlock) {
  RandomTensors random(201);
  for (const auto dtype : FloatDtypes()) {
    for (const auto& [T, D] : std::vector<std::pair<int64_t, int64_t>>{{2200, 64}, {2200, 512}, {300, 576}, {700, 1536}, {270, 4096}, {270, 7168}}) {
      const at::Tensor x = random.Normal({T, D}, dtype, 2.0), w = random.Normal({D}, dtype), dy = random.Normal({T, D}, dtype);
      const at::Tensor residual = random.NormalSlice({T, D}, dtype, 8);
      ExpectSameGradients({x, w}, {dy}, [](const auto& in) { return std::vector{rms_norm(in[0], in[1], kEps)}; },
                          [](const auto& in) { return std::vector{RmsNorm64(in[0], in[1], kEps)}; });
      const auto [y, sum] = add_rms_norm(x, residual, w, kEps);
      EXPECT_TRUE(IsSame(sum, at::add(x, residual))) << D;
      EXPECT_TRUE(IsNear(y, RmsNorm64(sum, w, kEps), dtype)) << D;
      const auto [dx, dw] = RmsNormBackwardOp::Call(dy, x, w, kEps, std::nullopt);
      const auto [with_added, same_dw] = RmsNormBackwardOp::Call(dy, x, w, kEps, residual);
      EXPECT_TRUE(IsNear(with_added, dx.to(at::kDouble).add(residual.to(at::kDouble)), dtype)) << D;
      EXPECT_TRUE(IsNear(same_dw, dw.to(at::kDouble), dtype)) << D;
    }
  }
}

TEST(ManyRows, SwigluMatchesTheFormulaAndItsGradients) {
  RandomTensors random(202);
  for (const auto dtype : FloatDtypes()) {
    const at::Tensor x = random.Normal({600, 704}, dtype, 4.0), dy = random.Normal({600, 352}, dtype);
    ExpectSameGradients({x}, {dy}, [](const auto& in) { return std::vector{swiglu(in[0])}; }, [](const auto& in) {
      const at::Tensor gate = in[0].narrow(1, 0, 352), up = in[0].narrow(1, 352, 352);
      return std::vector{at::silu(gate).mul(up)};
    });
  }
}

at::Tensor Rotated(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, bool interleaved) {
  const at::Tensor c = cos.to(x.scalar_type()).unsqueeze(1), s = sin.to(x.scalar_type()).unsqueeze(1);
  const int64_t half = x.size(2) / 2;
  const at::Tensor pairs = interleaved ? x.unflatten(2, {half, 2}) : x.unflatten(2, {2, half}).transpose(2, 3);
  const at::Tensor a = pairs.select(3, 0), b = pairs.select(3, 1);
  return at::cat({a.mul(c).sub(b.mul(s)), b.mul(c).add(a.mul(s))}, 2);
}

TEST(ManyRows, RotationsOfWholeVectorsMatchTheFormulaAndItsGradients) {
  RandomTensors random(203);
  for (const auto dtype : FloatDtypes()) {
    for (const bool interleaved : {false, true}) {
      const int64_t T = 260, H = 3;
      const at::Tensor angle = random.Normal({T, 32}, at::kFloat, 3.0), cos = RandomTensors::Poisoned(angle.cos()), sin = RandomTensors::Poisoned(angle.sin());
      const at::Tensor x = random.Normal({T, H, 64}, dtype), dy = random.Normal({T, H, 64}, dtype);
      ExpectSameGradients({x}, {dy}, [&](const auto& in) { return std::vector{rope(in[0], cos, sin, interleaved)}; },
                          [&](const auto& in) { return std::vector{Rotated(in[0], cos, sin, interleaved)}; });
      const at::Tensor slice = random.NormalSlice({T, H, 64}, dtype, 64);
      EXPECT_TRUE(IsNear(rope(slice, cos, sin, interleaved), Rotated(slice.to(at::kDouble), cos, sin, interleaved), dtype));
      const at::Tensor wide = random.Normal({T, H, 192}, dtype), dwide = random.Normal({T, H, 192}, dtype);
      ExpectSameGradients({wide}, {dwide}, [&](const auto& in) { return std::vector{rope_tail(in[0], cos, sin, interleaved)}; }, [&](const auto& in) {
        return std::vector{at::cat({in[0].narrow(2, 0, 128), Rotated(in[0].narrow(2, 128, 64), cos, sin, interleaved)}, 2)};
      });
    }
  }
}

TEST(ManyRows, MlaKeysAndTheirGradientsAreMovesAndASumOverHeads) {
  RandomTensors random(204);
  for (const auto dtype : FloatDtypes()) {
    for (const auto& [H, nope, rope_dim, v] : std::vector<std::tuple<int64_t, int64_t, int64_t, int64_t>>{{16, 128, 64, 128}, {3, 24, 10, 6}, {40, 16, 8, 16}}) {
      const at::Tensor kv = random.Normal({130, H, nope + v}, dtype), k_rope = random.Normal({130, rope_dim}, dtype);
      const at::Tensor dk = random.Normal({130, H, nope + rope_dim}, dtype), dv = random.Normal({130, H, v}, dtype);
      EXPECT_TRUE(IsSame(MlaKeysOp::Call(kv, k_rope, nope), at::cat({kv.narrow(2, 0, nope), k_rope.unsqueeze(1).expand({130, H, rope_dim})}, 2)));
      const auto [dkv, dk_rope] = MlaKeysBackwardOp::Call(dk, dv, nope);
      EXPECT_TRUE(IsSame(dkv, at::cat({dk.narrow(2, 0, nope), dv}, 2)));
      EXPECT_TRUE(IsNear(dk_rope, dk.narrow(2, nope, rope_dim).to(at::kDouble).sum(1), dtype));
    }
  }
}

TEST(ManyRows, CrossEntropyKeepsItsRowsAndGivesTheFormulasGradient) {
  RandomTensors random(205);
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    std::vector<std::pair<int64_t, int64_t>> sizes = {{600, 1024}, {300, 5000}};
    if (dtype == at::kFloat) sizes.emplace_back(140, 40000);
    if (dtype == at::kBFloat16) sizes.emplace_back(140, 66000);
    for (const auto& [T, V] : sizes) {
      const at::Tensor logits = random.Normal({T, V}, dtype, 3.0), scales = random.Normal({T}, at::kFloat).abs();
      at::Tensor targets = random.Integers(0, static_cast<int64_t>(V), {T}).to(at::kLong);
      targets.narrow(0, 5, 3).fill_(-100);
      const at::Tensor x = logits.to(at::kDouble), counted = targets.ne(-100), lse = x.logsumexp(1), target = targets.clamp_min(0);
      const at::Tensor nll = lse.sub(x.gather(1, target.unsqueeze(1)).squeeze(1)).masked_fill(counted.logical_not(), 0);
      const at::Tensor one_hot = at::zeros_like(x).scatter_(1, target.unsqueeze(1), 1.0);
      const double z_loss = 1e-3;
      const at::Tensor gradient = x.sub(lse.unsqueeze(1)).exp().mul(lse.mul(2 * z_loss).add(1).unsqueeze(1)).sub(one_hot);
      const at::Tensor kept = logits.clone();
      const auto [same_nll, same_lse] = CrossEntropyRowsOp::Call(kept, targets, scales, z_loss, false);
      EXPECT_TRUE(IsSame(kept, logits));
      const auto [got_nll, got_lse] = CrossEntropyRowsOp::Call(logits, targets, scales, z_loss, true);
      EXPECT_TRUE(IsNear(got_nll, nll, at::kFloat)) << V;
      EXPECT_TRUE(IsNear(got_lse, lse, at::kFloat)) << V;
      EXPECT_TRUE(IsSame(same_nll, got_nll)) << V;
      const auto rounded = dtype == at::kFloat && V > 10000 ? at::kHalf : dtype;  // a float32 sum of so many terms
      EXPECT_TRUE(IsNear(logits, gradient.mul(scales.to(at::kDouble).mul(counted).unsqueeze(1)), rounded)) << V;
    }
  }
}

TEST(ManyRows, TokensGoToTheirExpertsAndBackWithTheirGradients) {
  RandomTensors random(206);
  for (const auto dtype : FloatDtypes()) {
    for (const int64_t D : {48, 2048, 4160}) {
      const int64_t T = 450, K = 3, E = 7;
      const at::Tensor idx = random.Normal({T, E}, at::kFloat).argsort(int64_t{1}).narrow(1, 0, K).contiguous().to(at::kInt);
      const auto [order, offsets] = sort_by_expert(idx, E);
      const at::Tensor place = order.to(at::kLong), x = random.Normal({T, D}, dtype), weights = random.Normal({T, K}, at::kFloat);
      EXPECT_TRUE(IsSame(gather_tokens(x, order, K), x.index_select(0, place.div(K, "floor"))));
      const at::Tensor sorted = random.Normal({T * K, D}, dtype), dy = random.Normal({T, D}, dtype);
      const at::Tensor position = at::empty_like(place).scatter_(0, place, at::arange(T * K, place.options()));
      const at::Tensor chosen = sorted.to(at::kDouble).index_select(0, position).view({T, K, D}), w64 = weights.to(at::kDouble);
      EXPECT_TRUE(IsNear(combine_tokens(sorted, order, weights), chosen.mul(w64.unsqueeze(2)).sum(1), dtype));
      const auto [dsorted, dweights] = CombineTokensBackwardOp::Call(dy, sorted, order, weights);
      const at::Tensor dchosen = dy.to(at::kDouble).unsqueeze(1).mul(w64.unsqueeze(2)).reshape({T * K, D});
      EXPECT_TRUE(IsNear(dsorted, dchosen.index_select(0, place), dtype));
      EXPECT_TRUE(IsNear(dweights, chosen.mul(dy.to(at::kDouble).unsqueeze(1)).sum(2), at::kFloat));
    }
  }
}

TEST(ManyRows, LatentsAndRowsGoToTheirSlots) {
  RandomTensors random(207);
  const int64_t T = 1100, H = 5;
  for (const auto dtype : FloatDtypes()) {
    for (const bool interleaved : {false, true}) {
      const at::Tensor cache = random.Normal({T + 9, 576}, dtype), before = cache.clone();
      const at::Tensor slots = at::randperm(T + 9, at::TensorOptions().dtype(at::kLong)).narrow(0, 0, T).contiguous().to(cache.device());
      const at::Tensor kv_a = random.NormalSlice({T, 576}, dtype, 8), w = random.Normal({512}, dtype), q = random.NormalSlice({T, H, 64}, dtype, 64);
      const at::Tensor angle = random.Normal({T, 32}, at::kFloat, 3.0), cos = angle.cos(), sin = angle.sin();
      const at::Tensor q_out = store_latents(cache, slots, kv_a, w, q, cos, sin, kEps, interleaved);
      EXPECT_TRUE(IsNear(q_out, Rotated(q.to(at::kDouble), cos, sin, interleaved), dtype));
      const at::Tensor rows = cache.index_select(0, slots), key = kv_a.narrow(1, 512, 64).unsqueeze(1).to(at::kDouble);
      EXPECT_TRUE(IsNear(rows.narrow(1, 0, 512), RmsNorm64(kv_a.narrow(1, 0, 512), w, kEps), dtype));
      EXPECT_TRUE(IsNear(rows.narrow(1, 512, 64), Rotated(key, cos, sin, interleaved).squeeze(1), dtype));
      EXPECT_TRUE(IsSame(cache.index_copy(0, slots, before.index_select(0, slots)), before));
      const at::Tensor a = random.Normal({T, 512}, dtype), b = random.NormalSlice({T, 64}, dtype, 8);
      store_rows(cache, slots, a, b);
      EXPECT_TRUE(IsSame(cache.index_select(0, slots), at::cat({a, b}, 1)));
    }
  }
}

}  // namespace
}  // namespace fathom::ops
