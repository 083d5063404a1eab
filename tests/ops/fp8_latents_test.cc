#include "ops/cache/fp8_latents.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <vector>

#include "base/error.h"
#include "ops/attention/attention.h"
#include "ops/attention_reference.h"
#include "ops/random_tensor.h"
#include "ops/tolerance.h"

namespace fathom::ops {
namespace {

at::Tensor Fp8Slots(const std::vector<int32_t>& slots) { return IntTensor(slots).to(at::kLong); }

at::Tensor Bytes(at::IntArrayRef sizes) { return at::full(sizes, 0x7f, at::TensorOptions().dtype(at::kByte).device(TestDevice())); }  // e4m3's NaN

TEST(Fp8Latents, KeepsThreeBitsOfEachGroupsLargestAndTheRopePartInBf16) {
  RandomTensors random(120);
  for (const auto dtype : FloatDtypes()) {
    at::Tensor latent = random.Normal({3, 256}, dtype).mul_(100), k_rope = random.NormalSlice({3, 10}, dtype, 2);
    latent[1].zero_();
    latent[2].narrow(0, 128, 128).mul_(1e-4);
    const at::Tensor cache = Bytes({9, Fp8LatentBytes(256, 10)}), before = cache.clone();
    store_fp8_latents(cache, Fp8Slots({7, 0, 4}), latent, k_rope);
    const at::Tensor rows = ExpandFp8Latents(cache.index_select(0, Fp8Slots({7, 0, 4})), 256, at::kFloat);
    const at::Tensor wanted = latent.to(at::kFloat), got = rows.narrow(1, 0, 256);
    for (int64_t t = 0; t < 3; ++t) {
      for (int64_t group = 0; group < 2; ++group) {
        const at::Tensor x = wanted[t].narrow(0, group * 128, 128), y = got[t].narrow(0, group * 128, 128);
        const double most = x.abs().max().item<double>();
        EXPECT_LE(x.sub(y).abs().max().item<double>(), most / 16 * 1.001) << "row " << t;                       // half a step of the largest binade
        EXPECT_LE(x.sub(y).norm().item<double>(), x.norm().item<double>() * 0.04) << "row " << t;
      }
    }
    EXPECT_TRUE(IsSame(rows.narrow(1, 256, 10), k_rope.to(at::kBFloat16).to(at::kFloat)));
    for (const int64_t untouched : {1, 2, 3, 5, 6, 8}) EXPECT_TRUE(IsSame(cache[untouched], before[untouched]));
  }
}

TEST(Fp8Latents, RefusesACacheOfOtherRows) {
  RandomTensors random(121);
  const at::Tensor latent = random.Normal({1, 128}, at::kFloat), k_rope = random.Normal({1, 8}, at::kFloat);
  EXPECT_THROW(store_fp8_latents(Bytes({4, 128}), Fp8Slots({1}), latent, k_rope), InvariantError);
  EXPECT_THROW(store_fp8_latents(Bytes({4, Fp8LatentBytes(128, 8)}), Fp8Slots({1, 2}), latent, k_rope), InvariantError);
  EXPECT_THROW(store_fp8_latents(Bytes({4, 113}), Fp8Slots({1}), latent.narrow(1, 0, 96), k_rope), InvariantError);
}

// The attention over what the cache holds, against the formula on the widened rows.
void ExpectAttention(RandomTensors& random, const std::vector<Lengths>& lengths, int64_t H, int64_t R, int64_t Dr, int64_t page, at::ScalarType dtype) {
  std::vector<int32_t> cu_q = {0}, lens, table, slots;
  int64_t keys = 0, width = 1;
  for (const auto [n_q, n_k] : lengths) width = std::max(width, (n_k + page - 1) / page + 1);
  for (size_t b = 0; b < lengths.size(); ++b) {
    cu_q.push_back(cu_q.back() + static_cast<int32_t>(lengths[b].n_q));
    lens.push_back(static_cast<int32_t>(lengths[b].n_k));
    keys += lengths[b].n_k;
    for (int64_t i = 0; i < width; ++i) {
      const int64_t number = static_cast<int64_t>(b + 1) * width - 1 - i;
      table.push_back(i * page < lengths[b].n_k ? static_cast<int32_t>(number) : 1 << 30);
      for (int64_t j = i * page; j < std::min((i + 1) * page, lengths[b].n_k); ++j) slots.push_back(static_cast<int32_t>(number * page + j % page));
    }
  }
  const int64_t B = static_cast<int64_t>(lengths.size()), bytes = Fp8LatentBytes(R, Dr);
  const at::Tensor cache = Bytes({B * width * page, bytes});
  store_fp8_latents(cache, Fp8Slots(slots), random.Normal({keys, R}, dtype), random.Normal({keys, Dr}, dtype));
  const at::Tensor q = random.Normal({cu_q.back(), H, R + Dr}, dtype);
  const at::Tensor out = mla_paged_attention(q.narrow(2, 0, R), q.narrow(2, R, Dr), cache.view({B * width, page, bytes}), IntTensor(table).view({B, width}),
                                             IntTensor(cu_q), IntTensor(lens), 0.06, std::nullopt);
  const at::Tensor rows = ExpandFp8Latents(cache.index_select(0, Fp8Slots(slots)), R, dtype);
  EXPECT_TRUE(IsNear(out, PackedReference(q, rows.unsqueeze(1), rows.narrow(1, 0, R).unsqueeze(1), lengths, 0.06, -1, std::nullopt)))
      << H << " heads, " << lengths.size() << " sequences, pages of " << page;
}

TEST(Fp8Latents, AttentionReadsThemAsTheFormulaReadsTheirWidenedRows) {
  RandomTensors random(122);
  for (const auto dtype : FloatDtypes()) {
    ExpectAttention(random, {{1, 1}, {1, 65}, {3, 40}}, 3, 128, 8, 64, dtype);
    ExpectAttention(random, {{1, 9}, {2, 40}}, 16, 512, 64, 16, dtype);
  }
  if (TestDevice().is_cpu()) return;
  for (const int64_t heads : {1, 16, 20, 128}) {
    ExpectAttention(random, {{1, 3000}}, heads, 512, 64, 64, at::kBFloat16);
    ExpectAttention(random, {{1, 500}, {1, 64}, {1, 65}, {2, 2}, {4, 201}, {1, 3000}}, heads, 512, 64, 64, at::kBFloat16);
    ExpectAttention(random, {{70, 70}, {17, 400}, {33, 2129}}, heads, 512, 64, 128, at::kBFloat16);
  }
}

}  // namespace
}  // namespace fathom::ops
