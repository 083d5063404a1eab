#include <ATen/ops/full_like.h>
#include <ATen/ops/matmul.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "ops/attention/attention.h"
#include "ops/attention_reference.h"
#include "ops/gradients.h"
#include "ops/library.h"
#include "ops/random_tensor.h"
#include "ops/tolerance.h"

namespace fathom::ops {
namespace {

struct Shape {
  int64_t H, G, Dk, Dv;
};

struct Packed {
  at::Tensor q, k, v, cu_q, cu_k;
  double scale;
};

Packed MakePacked(RandomTensors& random, const Shape& shape, const std::vector<Lengths>& lengths, at::ScalarType dtype) {
  std::vector<int32_t> cu_q = {0}, cu_k = {0};
  for (const auto [n_q, n_k] : lengths) {
    cu_q.push_back(cu_q.back() + static_cast<int32_t>(n_q));
    cu_k.push_back(cu_k.back() + static_cast<int32_t>(n_k));
  }
  return {random.Normal({cu_q.back(), shape.H, shape.Dk}, dtype), random.Normal({cu_k.back(), shape.G, shape.Dk}, dtype),
          random.Normal({cu_k.back(), shape.G, shape.Dv}, dtype), IntTensor(cu_q), IntTensor(cu_k), 1.0 / std::sqrt(shape.Dk)};
}

// Each query's list: some of its keys in no order, and -1 at the end.
at::Tensor MakeTopk(RandomTensors& random, const std::vector<Lengths>& lengths, int64_t S) {
  std::vector<int32_t> list;
  int64_t T = 0;
  for (const auto [n_q, n_k] : lengths) {
    for (int64_t i = 0; i < n_q; ++i, ++T) {
      const at::Tensor order = at::Tensor(random.Normal({n_k}, at::kDouble).argsort()).to(at::kCPU);
      const int64_t kept = random.Integer(0, S + 1);
      for (int64_t s = 0; s < S; ++s) list.push_back(s < std::min(kept, n_k) ? static_cast<int32_t>(order[s].item<int64_t>()) : -1);
    }
  }
  return IntTensor(list).view({T, S});
}

const std::vector<Shape> kShapes = {{3, 3, 16, 16}, {6, 2, 64, 64}, {4, 1, 37, 21}, {2, 2, 192, 128}, {5, 5, 7, 80}, {9, 3, 64, 64}};

TEST(PackedAttention, MatchesTheFormulaOverSequencesOfOddLengths) {
  RandomTensors random(61);
  const std::vector<Lengths> lengths = {{1, 1}, {70, 70}, {0, 0}, {17, 17}, {5, 133}, {131, 140}, {1, 65}};
  for (const auto dtype : FloatDtypes()) {
    for (const Shape& shape : kShapes) {
      const Packed p = MakePacked(random, shape, lengths, dtype);
      const at::Tensor out = packed_attention(p.q, p.k, p.v, p.cu_q, p.cu_k, p.scale, -1, std::nullopt);
      EXPECT_TRUE(IsNear(out, PackedReference(p.q, p.k, p.v, lengths, p.scale, -1, std::nullopt)))
          << shape.H << " heads on " << shape.G << " of " << shape.Dk << " and " << shape.Dv;
    }
  }
}

TEST(PackedAttention, SeesOnlyTheWindow) {
  RandomTensors random(62);
  const std::vector<Lengths> lengths = {{150, 150}, {9, 80}};
  for (const int64_t window : {0, 1, 5, 64, 100, 1000}) {
    const Packed p = MakePacked(random, {4, 2, 24, 24}, lengths, at::kFloat);
    EXPECT_TRUE(IsNear(packed_attention(p.q, p.k, p.v, p.cu_q, p.cu_k, p.scale, window, std::nullopt),
                       PackedReference(p.q, p.k, p.v, lengths, p.scale, window, std::nullopt)))
        << window;
  }
}

TEST(PackedAttention, SeesOnlyTheKeysListed) {
  RandomTensors random(63);
  const std::vector<Lengths> lengths = {{40, 40}, {3, 90}, {1, 1}};
  for (const auto dtype : FloatDtypes()) {
    for (const int64_t window : {-1, 20}) {
      const Packed p = MakePacked(random, {4, 2, 24, 40}, lengths, dtype);
      const at::Tensor topk = MakeTopk(random, lengths, 12);
      EXPECT_TRUE(IsNear(packed_attention(p.q, p.k, p.v, p.cu_q, p.cu_k, p.scale, window, topk),
                         PackedReference(p.q, p.k, p.v, lengths, p.scale, window, topk)));
    }
  }
}

TEST(PackedAttention, ReadsStridedHeadsOfAFusedProjection) {
  RandomTensors random(64);
  const at::Tensor qkv = random.Normal({33, 5, 16}, at::kFloat);
  const at::Tensor q = qkv.narrow(1, 0, 3), k = qkv.narrow(1, 3, 1), v = qkv.narrow(1, 4, 1), cu = IntTensor({0, 33});
  EXPECT_TRUE(IsNear(packed_attention(q, k, v, cu, cu, 0.25, -1, std::nullopt), PackedReference(q, k, v, {{33, 33}}, 0.25, -1, std::nullopt)));
}

TEST(PackedAttention, StaysExactForLargeScores) {
  RandomTensors random(65);
  const Packed p = MakePacked(random, {2, 2, 32, 32}, {{90, 90}}, at::kFloat);
  EXPECT_TRUE(IsNear(packed_attention(p.q, p.k, p.v, p.cu_q, p.cu_k, 10.0, -1, std::nullopt),
                     PackedReference(p.q, p.k, p.v, {{90, 90}}, 10.0, -1, std::nullopt), at::kHalf));
}

TEST(PackedAttention, GivesASequenceTheSameBitsAloneAndAmongOthers) {
  RandomTensors random(66);
  for (const auto dtype : FloatDtypes()) {
    const std::vector<Lengths> lengths = {{50, 50}, {77, 77}, {3, 3}};
    const Packed p = MakePacked(random, {6, 2, 40, 40}, lengths, dtype);
    const at::Tensor all = packed_attention(p.q, p.k, p.v, p.cu_q, p.cu_k, p.scale, -1, std::nullopt), cu = IntTensor({0, 77});
    const at::Tensor alone = packed_attention(p.q.narrow(0, 50, 77), p.k.narrow(0, 50, 77), p.v.narrow(0, 50, 77), cu, cu, p.scale, -1, std::nullopt);
    EXPECT_TRUE(IsSame(alone, all.narrow(0, 50, 77)));
  }
}

TEST(PackedAttention, GivesTheLogarithmOfTheSumOfExponentials) {
  RandomTensors random(67);
  const Packed p = MakePacked(random, {2, 1, 20, 8}, {{30, 30}}, at::kFloat);
  const auto [out, lse] = PackedAttentionForwardOp::Call(p.q, p.k, p.v, p.cu_q, p.cu_k, p.scale, -1, std::nullopt, 0);
  const at::Tensor s = at::matmul(p.q.select(1, 1).to(at::kDouble), p.k.select(1, 0).to(at::kDouble).t()).mul(p.scale);
  EXPECT_TRUE(IsNear(lse.select(1, 1), s.add(at::full_like(s, -1e30).triu(1)).logsumexp(1), at::kFloat));
}

void ExpectGradients(RandomTensors& random, const Shape& shape, const std::vector<Lengths>& lengths, at::ScalarType dtype, int64_t window,
                     const std::optional<at::Tensor>& topk, int64_t max_len = 0) {
  const Packed p = MakePacked(random, shape, lengths, dtype);
  const at::Tensor dout = random.Normal({p.q.size(0), shape.H, shape.Dv}, dtype);
  ExpectSameGradients(
      {p.q, p.k, p.v}, {dout},
      [&](const auto& in) { return std::vector{packed_attention(in[0], in[1], in[2], p.cu_q, p.cu_k, p.scale, window, topk, max_len)}; },
      [&](const auto& in) { return std::vector{PackedReference(in[0], in[1], in[2], lengths, p.scale, window, topk)}; });
}

TEST(PackedAttention, HasTheFormulasGradients) {
  RandomTensors random(68);
  for (const auto dtype : FloatDtypes()) {
    for (const Shape& shape : kShapes) ExpectGradients(random, shape, {{1, 1}, {70, 70}, {0, 0}, {5, 133}, {90, 101}}, dtype, -1, std::nullopt);
  }
}

// Where the host knows the longest document a library's kernels may take the batch: documents of every length, of one length, one alone.
TEST(PackedAttention, HasTheFormulasGradientsForDocumentsWhoseLongestIsKnown) {
  RandomTensors random(71);
  const std::vector<Lengths> documents = {{1, 1}, {70, 70}, {0, 0}, {3, 3}, {257, 257}, {128, 128}, {64, 64}};
  for (const auto dtype : FloatDtypes()) {
    for (const Shape& shape : {Shape{4, 4, 192, 128}, Shape{3, 3, 128, 128}, Shape{4, 2, 64, 64}, Shape{2, 1, 96, 80}, Shape{2, 2, 256, 256}, Shape{2, 2, 37, 21}}) {
      ExpectGradients(random, shape, documents, dtype, -1, std::nullopt, 257);
      ExpectGradients(random, shape, {{90, 90}, {90, 90}, {90, 90}}, dtype, -1, std::nullopt, 90);
      ExpectGradients(random, shape, {{131, 131}}, dtype, -1, std::nullopt, 131);
    }
  }
}

TEST(PackedAttention, HasTheFormulasGradientsInAWindowAndOverLists) {
  RandomTensors random(69);
  const std::vector<Lengths> lengths = {{80, 80}, {9, 33}};
  for (const int64_t window : {1, 13, 64}) ExpectGradients(random, {4, 2, 24, 16}, lengths, at::kFloat, window, std::nullopt);
  for (const auto dtype : FloatDtypes()) ExpectGradients(random, {4, 2, 24, 16}, lengths, dtype, -1, MakeTopk(random, lengths, 10));
}

TEST(PackedAttention, AcceptsNoTokensAndRefusesHeadsThatDoNotDivide) {
  RandomTensors random(70);
  const Packed p = MakePacked(random, {2, 2, 8, 8}, {}, at::kFloat);
  EXPECT_EQ(packed_attention(p.q, p.k, p.v, p.cu_q, p.cu_k, 1.0, -1, std::nullopt).numel(), 0);
  const Packed wrong = MakePacked(random, {3, 2, 8, 8}, {{4, 4}}, at::kFloat);
  EXPECT_THROW(packed_attention(wrong.q, wrong.k, wrong.v, wrong.cu_q, wrong.cu_k, 1.0, -1, std::nullopt), InvariantError);
}

}  // namespace
}  // namespace fathom::ops
