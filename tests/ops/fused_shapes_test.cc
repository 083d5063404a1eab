// The shapes that the CUDA backend has kernels of their own for (tensor cores, split keys, sorts by many blocks). The formulas hold on every
// device; on a CPU, where these shapes take the same path as the other tests' and a minute, they are skipped.
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "ops/attention/attention.h"
#include "ops/attention_reference.h"
#include "ops/experts/experts.h"
#include "ops/gradients.h"
#include "ops/linear/linear_rows.h"
#include "ops/random_tensor.h"
#include "ops/tolerance.h"

namespace fathom::ops {
namespace {

class FusedShapes : public ::testing::Test {
 protected:
  void SetUp() override {
    if (TestDevice().is_cpu()) GTEST_SKIP() << "FATHOM_TEST_DEVICE is not cuda";
  }
};

std::vector<at::ScalarType> HalfDtypes() { return {at::kBFloat16, at::kHalf}; }

at::Tensor Limits(const std::vector<Lengths>& lengths, bool keys) {
  std::vector<int32_t> limits = {0};
  for (const auto [n_q, n_k] : lengths) limits.push_back(limits.back() + static_cast<int32_t>(keys ? n_k : n_q));
  return IntTensor(limits);
}

TEST_F(FusedShapes, PackedAttentionOfTheReleasedModelsHeads) {
  RandomTensors random(101);
  struct Shape {
    int64_t H, G, Dk, Dv;
  };
  const std::vector<Lengths> lengths = {{1, 1}, {70, 70}, {0, 0}, {5, 133}, {129, 129}};
  for (const auto dtype : HalfDtypes()) {
    for (const Shape& s : std::vector<Shape>{{4, 2, 64, 64}, {8, 2, 128, 128}, {3, 3, 192, 128}}) {
      for (const int64_t window : {-1, 40}) {
        const at::Tensor q = random.Normal({205, s.H, s.Dk}, dtype), k = random.Normal({333, s.G, s.Dk}, dtype), v = random.Normal({333, s.G, s.Dv}, dtype);
        const at::Tensor dout = random.Normal({205, s.H, s.Dv}, dtype), cu_q = Limits(lengths, false), cu_k = Limits(lengths, true);
        const double scale = 1.0 / std::sqrt(s.Dk);
        ExpectSameGradients(
            {q, k, v}, {dout}, [&](const auto& in) { return std::vector{packed_attention(in[0], in[1], in[2], cu_q, cu_k, scale, window, std::nullopt)}; },
            [&](const auto& in) { return std::vector{PackedReference(in[0], in[1], in[2], lengths, scale, window, std::nullopt)}; });
      }
    }
  }
}

// Sequence b owns pages b * width .. of the cache, in descending order; what nobody may read is NaN.
struct PagedCase {
  at::Tensor rows, pages, page_table, cu_q, kv_lens;
};
PagedCase MakePaged(RandomTensors& random, const std::vector<Lengths>& lengths, at::IntArrayRef row_sizes, at::ScalarType dtype, int64_t page, int64_t width) {
  int64_t keys = 0;
  for (const auto [n_q, n_k] : lengths) keys += n_k;
  std::vector<int64_t> sizes = {keys};
  sizes.insert(sizes.end(), row_sizes.begin(), row_sizes.end());
  PagedCase result;
  result.rows = random.Normal(sizes, dtype);
  sizes[0] = static_cast<int64_t>(lengths.size()) * width;
  sizes.insert(sizes.begin() + 1, page);
  result.pages = at::full(sizes, std::numeric_limits<double>::quiet_NaN(), result.rows.options());
  std::vector<int32_t> table, lens;
  int64_t first = 0;
  for (size_t b = 0; b < lengths.size(); ++b) {
    for (int64_t i = 0; i < width; ++i) {
      const int64_t number = static_cast<int64_t>(b + 1) * width - 1 - i, count = std::min(page, lengths[b].n_k - i * page);
      table.push_back(count > 0 ? static_cast<int32_t>(number) : -1);
      if (count > 0) result.pages[number].narrow(0, 0, count).copy_(result.rows.narrow(0, first + i * page, count));
    }
    first += lengths[b].n_k;
    lens.push_back(static_cast<int32_t>(lengths[b].n_k));
  }
  result.page_table = IntTensor(table).view({static_cast<int64_t>(lengths.size()), width});
  result.cu_q = Limits(lengths, false);
  result.kv_lens = IntTensor(lens);
  return result;
}

TEST_F(FusedShapes, PagedAttentionOfWideHeadsInSplitsAndChunks) {
  RandomTensors random(102);
  for (const auto& lengths : std::vector<std::vector<Lengths>>{{{1, 700}}, {{1, 700}, {1, 3}, {1, 64}}, {{4, 130}, {1, 9}, {100, 100}}, {{200, 513}, {70, 70}, {129, 640}}}) {
    for (const auto dtype : HalfDtypes()) {
      const PagedCase keys = MakePaged(random, lengths, {2, 128}, dtype, 64, 11);
      PagedCase values = keys;
      values.rows = random.Normal(keys.rows.sizes(), dtype);
      values.pages = keys.pages.clone();
      int64_t first = 0, queries = 0;
      for (size_t b = 0; b < lengths.size(); ++b) {
        for (int64_t j = 0; j < lengths[b].n_k; ++j) values.pages[(b + 1) * 11 - 1 - j / 64][j % 64].copy_(values.rows[first + j]);
        first += lengths[b].n_k;
        queries += lengths[b].n_q;
      }
      const at::Tensor q = random.Normal({queries, 8, 128}, dtype);
      for (const int64_t window : {-1, 100}) {
        const at::Tensor out = paged_attention(q, keys.pages, values.pages, keys.page_table, keys.cu_q, keys.kv_lens, 0.09, window);
        EXPECT_TRUE(IsNear(out, PackedReference(q, keys.rows, values.rows, lengths, 0.09, window, std::nullopt))) << lengths.size() << " window " << window;
      }
    }
  }
}

TEST_F(FusedShapes, MlaDecodeOfSixteenToAHundredAndTwentyEightHeads) {
  RandomTensors random(103);
  struct Case {
    std::vector<Lengths> lengths;
    int64_t page;
  };
  for (const auto& [lengths, page] : std::vector<Case>{{{{1, 1}}, 64},
                                                       {{{1, 1000}}, 64},
                                                       {{{1, 500}, {1, 64}, {1, 65}, {2, 2}, {4, 201}}, 64},
                                                       {{{1, 500}, {1, 64}, {1, 65}, {2, 2}, {4, 201}}, 16},
                                                       {{{70, 70}, {0, 12}, {17, 400}, {33, 129}}, 128}}) {
    for (const auto dtype : HalfDtypes()) {
      for (const int64_t heads : {1, 16, 20, 128}) {
        const PagedCase cache = MakePaged(random, lengths, {576}, dtype, page, 1024 / page);
        int64_t queries = 0;
        for (const auto [n_q, n_k] : lengths) queries += n_q;
        const at::Tensor q = random.Normal({queries, heads, 576}, dtype);
        const at::Tensor out = mla_paged_attention(q.narrow(2, 0, 512), q.narrow(2, 512, 64), cache.pages, cache.page_table, cache.cu_q, cache.kv_lens,
                                                   0.06, std::nullopt);
        const at::Tensor expected = PackedReference(q, cache.rows.unsqueeze(1), cache.rows.narrow(1, 0, 512).unsqueeze(1), lengths, 0.06, -1, std::nullopt);
        EXPECT_TRUE(IsNear(out, expected)) << heads << " heads, " << lengths.size() << " sequences, pages of " << page;
      }
    }
  }
}

TEST_F(FusedShapes, MlaDecodeOfManySequencesOfOneToFourQueries) {
  RandomTensors random(107);
  std::vector<Lengths> lengths;
  int64_t queries = 0;
  for (int64_t b = 0; b < 129; ++b) {
    lengths.push_back({1 + b % 4, 4 + b * 17 % 300});
    queries += lengths.back().n_q;
  }
  const PagedCase cache = MakePaged(random, lengths, {576}, at::kBFloat16, 64, 6);
  const at::Tensor q = random.Normal({queries, 16, 576}, at::kBFloat16);
  const at::Tensor out =
      mla_paged_attention(q.narrow(2, 0, 512), q.narrow(2, 512, 64), cache.pages, cache.page_table, cache.cu_q, cache.kv_lens, 0.06, std::nullopt);
  EXPECT_TRUE(IsNear(out, PackedReference(q, cache.rows.unsqueeze(1), cache.rows.narrow(1, 0, 512).unsqueeze(1), lengths, 0.06, -1, std::nullopt)));
}

// Long enough that a sequence takes several tiles of queries and of keys.
TEST_F(FusedShapes, PackedAttentionOfLongSequencesBehindAPrefix) {
  RandomTensors random(108);
  struct Shape {
    int64_t H, G, Dk, Dv;
  };
  const std::vector<Lengths> lengths = {{400, 1000}, {1, 1}, {300, 300}, {129, 256}, {128, 129}};
  for (const auto dtype : HalfDtypes()) {
    for (const Shape& s : std::vector<Shape>{{4, 4, 64, 64}, {8, 2, 128, 128}, {6, 6, 192, 128}}) {
      // Heads of wider rows, as projections make them.
      const at::Tensor q = random.Normal({958, s.H, s.Dk + 64}, dtype).narrow(2, 0, s.Dk), kv = random.Normal({1686, s.G, s.Dk + s.Dv}, dtype);
      const at::Tensor k = kv.narrow(2, 0, s.Dk), v = kv.narrow(2, s.Dk, s.Dv);
      for (const int64_t window : {-1, 200}) {
        const at::Tensor out = packed_attention(q, k, v, Limits(lengths, false), Limits(lengths, true), 0.1, window, std::nullopt);
        EXPECT_TRUE(IsNear(out, PackedReference(q, k, v, lengths, 0.1, window, std::nullopt))) << s.Dk << " window " << window;
      }
    }
  }
}

TEST_F(FusedShapes, GroupedProductsWithFewAndManyRowsAndExpertsWithoutRows) {
  RandomTensors random(104);
  for (const std::vector<int32_t>& limits : std::vector<std::vector<int32_t>>{{0, 0, 3, 3, 5}, {0, 200, 200, 229, 229}, {0, 0, 0, 0, 130}}) {
    for (const auto dtype : HalfDtypes()) {
      const at::Tensor x = random.Normal({limits.back(), 96}, dtype), w = random.Normal({4, 80, 96}, dtype), dy = random.Normal({limits.back(), 80}, dtype);
      const at::Tensor offsets = IntTensor(limits);
      const at::Tensor y = grouped_linear(x, w, offsets), dx = grouped_linear_dgrad(dy, w, offsets), dw = grouped_linear_wgrad(dy, x, offsets);
      for (int64_t e = 0; e < 4; ++e) {
        const int64_t first = limits[e], count = limits[e + 1] - first;
        const at::Tensor x64 = x.narrow(0, first, count).to(at::kDouble), dy64 = dy.narrow(0, first, count).to(at::kDouble), w64 = w[e].to(at::kDouble);
        EXPECT_TRUE(IsNear(y.narrow(0, first, count), at::matmul(x64, w64.t())));
        EXPECT_TRUE(IsNear(dx.narrow(0, first, count), at::matmul(dy64, w64)));
        EXPECT_TRUE(IsNear(dw[e], at::matmul(dy64.t(), x64))) << "expert " << e << " of " << count << " rows";
      }
    }
  }
}

TEST_F(FusedShapes, SortsManyChoicesStably) {
  RandomTensors random(105);
  for (const int64_t experts : {5, 64, 256}) {
    for (const int64_t tokens : {1, 11, 100, 700, 2500}) {
      const at::Tensor topk_idx = random.Integers(0, experts, {tokens, 6});
      const auto [order, offsets] = sort_by_expert(topk_idx, experts);
      const auto [expected_order, expected_offsets] = sort_by_expert(topk_idx.to(at::kCPU), experts);
      EXPECT_TRUE(IsSame(order.to(at::kCPU), expected_order)) << tokens;
      EXPECT_TRUE(IsSame(offsets.to(at::kCPU), expected_offsets)) << tokens;
    }
  }
}

TEST_F(FusedShapes, LinearRowsOfAlignedWeightsKeepTheirBitsForEveryNumberOfRows) {
  RandomTensors random(106);
  for (const auto dtype : HalfDtypes()) {
    for (const int64_t K : {32, 520, 2048}) {
      const at::Tensor x = random.Normal({16, K}, dtype), w = random.Normal({70, K}, dtype);
      const at::Tensor all = linear_rows(x, w, std::nullopt);
      EXPECT_TRUE(IsNear(all, at::matmul(x.to(at::kDouble), w.to(at::kDouble).t())));
      for (const int64_t m : {1, 5, 8, 9}) EXPECT_TRUE(IsSame(linear_rows(x.narrow(0, 3, m), w, std::nullopt), all.narrow(0, 3, m))) << m << " of " << K;
    }
  }
}

}  // namespace
}  // namespace fathom::ops
