#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "base/error.h"
#include "ops/attention/attention.h"
#include "ops/attention_reference.h"
#include "ops/random_tensor.h"
#include "ops/tolerance.h"

namespace fathom::ops {
namespace {

struct Cache {
  at::Tensor page_table, cu_q, kv_lens;
  std::vector<std::vector<int32_t>> tables;
  int64_t num_pages = 0, page = 0;
};

// Pages in a shuffled order, some used by nobody; entries past a sequence's end point far outside.
Cache MakeCache(RandomTensors& random, const std::vector<Lengths>& lengths, int64_t page) {
  Cache cache{.page = page};
  int64_t used = 0, longest = 1;
  for (const auto& length : lengths) {
    used += (length.n_k + page - 1) / page;
    longest = std::max(longest, (length.n_k + page - 1) / page);
  }
  cache.num_pages = used + 3;
  const at::Tensor order = at::Tensor(random.Normal({cache.num_pages}, at::kDouble).argsort()).to(at::kCPU);
  std::vector<int32_t> table, cu_q = {0}, lens;
  int64_t next = 0;
  for (const auto [n_q, n_k] : lengths) {
    auto& pages = cache.tables.emplace_back();
    for (int64_t i = 0; i < longest + 1; ++i) {
      const bool in_use = i * page < n_k;
      if (in_use) pages.push_back(static_cast<int32_t>(order[next++].item<int64_t>()));
      table.push_back(in_use ? pages.back() : 1 << 30);
    }
    cu_q.push_back(cu_q.back() + static_cast<int32_t>(n_q));
    lens.push_back(static_cast<int32_t>(n_k));
  }
  cache.page_table = IntTensor(table).view({static_cast<int64_t>(lengths.size()), longest + 1});
  cache.cu_q = IntTensor(cu_q);
  cache.kv_lens = IntTensor(lens);
  return cache;
}

// Writes packed rows [S, ...] into pages that are NaN everywhere else.
at::Tensor Fill(const Cache& cache, const at::Tensor& rows, const std::vector<Lengths>& lengths) {
  std::vector<int64_t> sizes = {cache.num_pages, cache.page};
  for (int64_t d = 1; d < rows.dim(); ++d) sizes.push_back(rows.size(d));
  const at::Tensor pages = at::full(sizes, std::numeric_limits<double>::quiet_NaN(), rows.options());
  int64_t k0 = 0;
  for (size_t b = 0; b < lengths.size(); ++b) {
    for (int64_t j = 0; j < lengths[b].n_k; j += cache.page) {
      const int64_t count = std::min(cache.page, lengths[b].n_k - j);
      pages[cache.tables[b][j / cache.page]].narrow(0, 0, count).copy_(rows.narrow(0, k0 + j, count));
    }
    k0 += lengths[b].n_k;
  }
  return pages;
}

int64_t TotalQueries(const std::vector<Lengths>& lengths) {
  return std::accumulate(lengths.begin(), lengths.end(), int64_t{0}, [](int64_t sum, const Lengths& l) { return sum + l.n_q; });
}
int64_t TotalKeys(const std::vector<Lengths>& lengths) {
  return std::accumulate(lengths.begin(), lengths.end(), int64_t{0}, [](int64_t sum, const Lengths& l) { return sum + l.n_k; });
}

const std::vector<Lengths> kDecode = {{1, 1}, {1, 64}, {1, 65}, {1, 300}, {1, 777}}, kChunks = {{5, 17}, {70, 70}, {1, 130}, {33, 200}, {0, 12}};

struct PagedShape {
  int64_t H, G, Dk, Dv;
};

TEST(PagedAttention, MatchesTheFormulaForDecodeStepsAndChunks) {
  RandomTensors random(71);
  for (const auto dtype : FloatDtypes()) {
    for (const auto& lengths : {kDecode, kChunks}) {
      for (const int64_t page : {64, 16, 7}) {
        for (const PagedShape& s : std::vector<PagedShape>{{9, 3, 64, 64}, {4, 4, 20, 36}, {7, 1, 33, 17}}) {
          const Cache cache = MakeCache(random, lengths, page);
          const at::Tensor q = random.Normal({TotalQueries(lengths), s.H, s.Dk}, dtype);
          const at::Tensor k = random.Normal({TotalKeys(lengths), s.G, s.Dk}, dtype), v = random.Normal({TotalKeys(lengths), s.G, s.Dv}, dtype);
          const double scale = 1.0 / std::sqrt(s.Dk);
          const at::Tensor out = paged_attention(q, Fill(cache, k, lengths), Fill(cache, v, lengths), cache.page_table, cache.cu_q, cache.kv_lens, scale, -1);
          EXPECT_TRUE(IsNear(out, PackedReference(q, k, v, lengths, scale, -1, std::nullopt))) << s.H << " heads, pages of " << page;
        }
      }
    }
  }
}

TEST(PagedAttention, SeesOnlyTheWindow) {
  RandomTensors random(72);
  for (const int64_t window : {1, 40, 128}) {
    const Cache cache = MakeCache(random, kChunks, 64);
    const at::Tensor q = random.Normal({TotalQueries(kChunks), 4, 32}, at::kFloat), k = random.Normal({TotalKeys(kChunks), 2, 32}, at::kFloat);
    const at::Tensor v = random.Normal({TotalKeys(kChunks), 2, 32}, at::kFloat);
    EXPECT_TRUE(IsNear(paged_attention(q, Fill(cache, k, kChunks), Fill(cache, v, kChunks), cache.page_table, cache.cu_q, cache.kv_lens, 0.2, window),
                       PackedReference(q, k, v, kChunks, 0.2, window, std::nullopt)))
        << window;
  }
}

TEST(PagedAttention, GivesASequenceTheSameBitsAloneAndAmongOthers) {
  RandomTensors random(73);
  for (const auto dtype : FloatDtypes()) {
    const Cache cache = MakeCache(random, kDecode, 64);
    const at::Tensor q = random.Normal({5, 9, 64}, dtype), k = Fill(cache, random.Normal({TotalKeys(kDecode), 3, 64}, dtype), kDecode);
    const at::Tensor v = Fill(cache, random.Normal({TotalKeys(kDecode), 3, 64}, dtype), kDecode);
    const at::Tensor all = paged_attention(q, k, v, cache.page_table, cache.cu_q, cache.kv_lens, 0.125, -1);
    for (int64_t b = 0; b < 5; ++b) {
      const at::Tensor alone =
          paged_attention(q.narrow(0, b, 1), k, v, cache.page_table.narrow(0, b, 1), IntTensor({0, 1}), cache.kv_lens.narrow(0, b, 1), 0.125, -1);
      // On a GPU the number of parts that the keys are cut into follows the size of the batch: equal up to rounding there.
      EXPECT_TRUE(TestDevice().is_cpu() ? IsSame(alone, all.narrow(0, b, 1)) : IsNear(alone, all.narrow(0, b, 1)));
    }
  }
}

TEST(PagedAttention, ThrowsRatherThanCutTheGraph) {
  RandomTensors random(74);
  const Cache cache = MakeCache(random, {{1, 1}}, 4);
  const at::Tensor q = random.Normal({1, 1, 8}, at::kFloat), k = Fill(cache, random.Normal({1, 1, 8}, at::kFloat), {{1, 1}});
  EXPECT_THROW(paged_attention(q.requires_grad_(true), k, k, cache.page_table, cache.cu_q, cache.kv_lens, 1.0, -1), InvariantError);
}

// Absorbed MLA is attention with one key head: k = (c, r), v = c.
at::Tensor MlaReference(const at::Tensor& q_latent, const at::Tensor& q_rope, const at::Tensor& rows, const std::vector<Lengths>& lengths, double scale,
                        const std::optional<at::Tensor>& topk) {
  return PackedReference(at::cat({q_latent, q_rope}, 2), rows.unsqueeze(1), rows.narrow(1, 0, q_latent.size(2)).unsqueeze(1), lengths, scale, -1, topk);
}

TEST(MlaPagedAttention, MatchesTheFormulaForDecodeStepsAndChunks) {
  RandomTensors random(75);
  struct MlaShape {
    int64_t H, R, Dr;
  };
  for (const auto dtype : FloatDtypes()) {
    for (const auto& lengths : {kDecode, kChunks}) {
      for (const MlaShape& s : std::vector<MlaShape>{{3, 40, 10}, {16, 512, 64}, {130, 24, 8}}) {
        const Cache cache = MakeCache(random, lengths, 64);
        const at::Tensor q_latent = random.Normal({TotalQueries(lengths), s.H, s.R}, dtype), q_rope = random.Normal({TotalQueries(lengths), s.H, s.Dr}, dtype);
        const at::Tensor rows = random.Normal({TotalKeys(lengths), s.R + s.Dr}, dtype);
        const double scale = 1.0 / std::sqrt(s.R + s.Dr);
        const at::Tensor out =
            mla_paged_attention(q_latent, q_rope, Fill(cache, rows, lengths), cache.page_table, cache.cu_q, cache.kv_lens, scale, std::nullopt);
        EXPECT_TRUE(IsNear(out, MlaReference(q_latent, q_rope, rows, lengths, scale, std::nullopt))) << s.H << " heads of " << s.R;
      }
    }
  }
}

TEST(MlaPagedAttention, SeesOnlyTheKeysListed) {
  RandomTensors random(76);
  const std::vector<Lengths> lengths = {{1, 90}, {3, 20}, {1, 2}};
  const at::Tensor topk = IntTensor({0, 89, 17, 64, -1, 3,  19, 18, 17, 5, -1, -1, 0, 1, 2, -1, -1, -1,  //
                                     -1, -1, 7, 9, 19, 12, 1, -1, -1, 0, -1, -1})
                              .view({5, 6});
  for (const auto dtype : FloatDtypes()) {
    const Cache cache = MakeCache(random, lengths, 16);
    const at::Tensor q_latent = random.Normal({5, 4, 32}, dtype), q_rope = random.Normal({5, 4, 8}, dtype), rows = random.Normal({112, 40}, dtype);
    const at::Tensor out = mla_paged_attention(q_latent, q_rope, Fill(cache, rows, lengths), cache.page_table, cache.cu_q, cache.kv_lens, 0.2, topk);
    EXPECT_TRUE(IsNear(out, MlaReference(q_latent, q_rope, rows, lengths, 0.2, topk)));
  }
}

}  // namespace
}  // namespace fathom::ops
