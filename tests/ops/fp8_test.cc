#include "ops/fp8/fp8.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/error.h"
#include "ops/linear/linear_rows.h"
#include "ops/random_tensor.h"
#include "ops/tolerance.h"

namespace fathom::ops {
namespace {

using at::Tensor;

int64_t Blocks(int64_t size) { return (size + kFp8Block - 1) / kFp8Block; }

// The scale of a block by the formula, and its values.
float ScaleOf(const Tensor& block, bool power_of_two) {
  const float scale = std::max(block.to(at::kFloat).abs().max().item<float>(), 1e-30f) / 448.0f;
  if (!power_of_two) return scale;
  int exponent = 0;
  const float mantissa = std::frexp(scale, &exponent);
  return std::ldexp(1.0f, mantissa == 0.5f ? exponent - 1 : exponent);
}
Tensor ValuesOf(const Tensor& block, float scale) { return block.to(at::kFloat).mul(1.0f / scale).to(at::kFloat8_e4m3fn); }

Tensor Bytes(const Tensor& values) { return values.contiguous().view(at::kByte).cpu(); }

// The same values inside memory of NaN.
Tensor Poisoned(const Tensor& values) {
  const Tensor memory = at::full({values.numel() + 192}, 0x7f, values.options().dtype(at::kByte));
  Tensor view = memory.narrow(0, 96, values.numel()).view(values.sizes());
  view.copy_(values.contiguous().view(at::kByte));
  return view.view(at::kFloat8_e4m3fn);
}
Fp8Rows Poisoned(const Fp8Rows& x) { return {Poisoned(x.values), RandomTensors::Poisoned(x.scales)}; }
Fp8Blocks Poisoned(const Fp8Blocks& w) { return {Poisoned(w.values), RandomTensors::Poisoned(w.scales)}; }

// Normal values whose rows differ much in size, so that a wrong scale shows.
Tensor Uneven(RandomTensors& random, std::vector<int64_t> sizes, at::ScalarType dtype) {
  const Tensor factor = random.Normal({sizes[sizes.size() - 2], 1}, at::kFloat).mul(2).exp();
  return RandomTensors::Poisoned(random.Normal(sizes, at::kFloat).mul(factor).to(dtype));
}

Tensor Offsets(const std::vector<int32_t>& counts) {
  std::vector<int32_t> offsets{0};
  for (const int32_t count : counts) offsets.push_back(offsets.back() + count);
  return IntTensor(offsets);
}

TEST(Fp8Quantize, RowsAreTheFormulaForOddSizesAndEveryDtype) {
  RandomTensors random(31);
  for (const at::ScalarType dtype : FloatDtypes()) {
    for (const bool power_of_two : {false, true}) {
      for (const auto& [M, K] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {3, 128}, {130, 257}, {129, 384}, {17, 576}}) {
        const Tensor x = Uneven(random, {M, K}, dtype);
        const Fp8Rows q = fp8_quantize_rows(x, power_of_two);
        ASSERT_EQ(q.scales.sizes(), (std::vector<int64_t>{Blocks(K), M}));
        for (int64_t m = 0; m < M; m += 1 + M / 20) {
          for (int64_t kb = 0; kb < Blocks(K); ++kb) {
            const int64_t k0 = kb * kFp8Block, width = std::min(kFp8Block, K - k0);
            const Tensor block = x.cpu()[m].narrow(0, k0, width);
            const float scale = ScaleOf(block, power_of_two);
            EXPECT_EQ(q.scales[kb][m].item<float>(), scale);
            EXPECT_TRUE(IsSame(Bytes(q.values[m].narrow(0, k0, width)), Bytes(ValuesOf(block, scale)))) << m << " of " << M << " x " << K;
          }
        }
      }
    }
  }
}

TEST(Fp8Quantize, RowsOfAWiderTensorAreReadInPlace) {
  RandomTensors random(32);
  const Tensor slice = random.NormalSlice({37, 256}, at::kBFloat16, 8);
  EXPECT_TRUE(IsSame(Bytes(fp8_quantize_rows(slice).values), Bytes(fp8_quantize_rows(slice.contiguous()).values)));
}

TEST(Fp8Quantize, ColumnsAreTheFormulaWithinEachExpertsRows) {
  RandomTensors random(33);
  for (const std::vector<int32_t>& counts : std::vector<std::vector<int32_t>>{{5}, {128, 0, 129}, {0, 0, 1}, {300, 0, 7, 128, 50}}) {
    const Tensor offsets = Offsets(counts);
    const int64_t M = offsets[-1].item<int>(), E = static_cast<int64_t>(counts.size());
    for (const int64_t K : {8, 130, 256}) {
      const Tensor x = Uneven(random, {M, K}, at::kBFloat16);
      const Fp8Columns q = fp8_quantize_columns(x, offsets);
      ASSERT_EQ(q.values.sizes(), (std::vector<int64_t>{(M + 127 * E) / 128, K, kFp8Block}));
      int64_t block = 0, row = 0;
      for (const int32_t count : counts) {
        for (int64_t first = 0; first < count; first += kFp8Block, ++block) {
          const int64_t rows = std::min<int64_t>(kFp8Block, count - first);
          const Tensor part = x.cpu().narrow(0, row + first, rows);
          Tensor expected = at::zeros({K, kFp8Block}, at::TensorOptions().dtype(at::kByte));
          for (int64_t k = 0; k < K; ++k) {
            const float scale = ScaleOf(part.select(1, k), false);
            EXPECT_EQ(q.scales[block][k].item<float>(), scale);
            expected[k].narrow(0, 0, rows).copy_(Bytes(ValuesOf(part.select(1, k), scale)));
          }
          EXPECT_TRUE(IsSame(Bytes(q.values[block]), expected)) << "block " << block << " of width " << K;
        }
        row += count;
      }
    }
  }
}

TEST(Fp8Quantize, BothFormsByOneReadingAreTheTwoFormsAlone) {
  RandomTensors random(34);
  for (const at::ScalarType dtype : FloatDtypes()) {
    const Tensor x = Uneven(random, {300, 264}, dtype), offsets = Offsets({100, 0, 200});
    const auto [rows, columns] = fp8_quantize_both(x, offsets, true);
    const Fp8Rows rows_alone = fp8_quantize_rows(x, true);
    const Fp8Columns columns_alone = fp8_quantize_columns(x, offsets, true);
    EXPECT_TRUE(IsSame(Bytes(rows.values), Bytes(rows_alone.values)));
    EXPECT_TRUE(IsSame(rows.scales, rows_alone.scales));
    EXPECT_TRUE(IsSame(Bytes(columns.values.narrow(0, 0, 3)), Bytes(columns_alone.values.narrow(0, 0, 3))));
    EXPECT_TRUE(IsSame(columns.scales.narrow(0, 0, 3), columns_alone.scales.narrow(0, 0, 3)));
  }
}

TEST(Fp8Quantize, WeightsAreTheFormulaInBothOrders) {
  RandomTensors random(35);
  for (const at::ScalarType dtype : FloatDtypes()) {
    for (const auto& [N, K] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {128, 256}, {130, 257}, {72, 144}}) {
      const Tensor w = Uneven(random, {2, N, K}, dtype);
      const auto [plain, transposed] = fp8_quantize_weight(w);
      for (int64_t e = 0; e < 2; ++e) {
        for (int64_t n0 = 0; n0 < N; n0 += kFp8Block) {
          for (int64_t k0 = 0; k0 < K; k0 += kFp8Block) {
            const int64_t rows = std::min(kFp8Block, N - n0), width = std::min(kFp8Block, K - k0);
            const Tensor block = w.cpu()[e].narrow(0, n0, rows).narrow(1, k0, width);
            const float scale = ScaleOf(block, false);
            EXPECT_EQ(plain.scales[e][n0 / kFp8Block][k0 / kFp8Block].item<float>(), scale);
            EXPECT_TRUE(IsSame(Bytes(plain.values[e].narrow(0, n0, rows).narrow(1, k0, width)), Bytes(ValuesOf(block, scale))));
          }
        }
      }
      EXPECT_TRUE(IsSame(Bytes(transposed.values), Bytes(plain.values).transpose(1, 2).contiguous()));
      EXPECT_TRUE(IsSame(transposed.scales, plain.scales.transpose(1, 2).contiguous()));
    }
  }
}

TEST(Fp8Quantize, ZerosStayZerosAndNothingOverflows) {
  Tensor x = at::zeros({2, 256}, at::TensorOptions().device(TestDevice()));
  x[0][3] = 3e38f;
  x[1][200] = 1e-38f;
  const Fp8Rows q = fp8_quantize_rows(x);
  const Tensor back = fp8_expand(q, at::kFloat);
  EXPECT_EQ(back[0][3].item<float>(), 448.0f * (3e38f / 448.0f));
  EXPECT_EQ(back.abs().sum().item<float>(), back[0][3].item<float>());  // 1e-38 is nothing beside 1e-30
  EXPECT_TRUE(back.isfinite().all().item<bool>());
}

// The tensor cores keep about 14 bits of a sum of 128 products.
Tensor Linear64(const Fp8Rows& x, const Fp8Blocks& w, const Tensor& offsets) {
  const Tensor xs = fp8_expand(x, at::kDouble).cpu(), ws = fp8_expand(w, at::kDouble).cpu(), limits = offsets.cpu();
  std::vector<Tensor> parts;
  for (int64_t e = 0; e < ws.size(0); ++e) {
    const int64_t begin = limits[e].item<int>(), end = limits[e + 1].item<int>();
    parts.push_back(at::matmul(xs.narrow(0, begin, end - begin), ws[e].t()));
  }
  return at::cat(parts, 0);
}

TEST(Fp8Linear, MatchesTheExpandedProductForOneMatrix) {
  RandomTensors random(41);
  for (const at::ScalarType dtype : {at::kBFloat16, at::kFloat}) {
    for (const auto& [M, N, K] : std::vector<std::tuple<int64_t, int64_t, int64_t>>{
             {1, 8, 16}, {128, 128, 128}, {5, 136, 400}, {300, 264, 256}, {257, 576, 912}, {64, 24, 2064}, {700, 520, 1040}, {1040, 256, 1024}, {1152, 384, 640}}) {
      const Fp8Rows x = Poisoned(fp8_quantize_rows(Uneven(random, {M, K}, at::kBFloat16)));
      const Fp8Blocks w = Poisoned(fp8_quantize_weight(Uneven(random, {1, N, K}, at::kFloat)).plain);
      const Tensor y = fp8_linear(x, w, std::nullopt, dtype);
      EXPECT_EQ(y.scalar_type(), dtype);
      EXPECT_TRUE(IsNear(y, Linear64(x, w, Offsets({static_cast<int32_t>(M)})), dtype == at::kFloat ? at::kHalf : dtype)) << M << " x " << N << " x " << K;
    }
  }
}

TEST(Fp8Linear, TakesShapesThatNeedExpansion) {
  RandomTensors random(42);
  const Fp8Rows x = fp8_quantize_rows(Uneven(random, {9, 37}, at::kFloat));
  const Fp8Blocks w = fp8_quantize_weight(Uneven(random, {1, 5, 37}, at::kFloat)).plain;
  EXPECT_TRUE(IsNear(fp8_linear(x, w, std::nullopt, at::kBFloat16), Linear64(x, w, Offsets({9}))));
}

TEST(Fp8Linear, GivesEachExpertsRowsItsOwnMatrix) {
  RandomTensors random(43);
  for (const std::vector<int32_t>& counts : std::vector<std::vector<int32_t>>{{3, 0, 130}, {0, 0, 257, 1}, {128, 256, 64}, {1, 1, 1, 1, 1, 1, 1, 40}, {700, 300}}) {
    const Tensor offsets = Offsets(counts);
    const int64_t M = offsets[-1].item<int>(), E = static_cast<int64_t>(counts.size());
    for (const auto& [N, K] : std::vector<std::pair<int64_t, int64_t>>{{144, 272}, {384, 128}}) {
      const Fp8Rows x = Poisoned(fp8_quantize_rows(Uneven(random, {M, K}, at::kBFloat16)));
      const Fp8WeightForms forms = fp8_quantize_weight(Uneven(random, {E, N, K}, at::kBFloat16));
      const Fp8Blocks w = Poisoned(forms.plain), wt = Poisoned(forms.transposed);
      EXPECT_TRUE(IsNear(fp8_linear(x, w, offsets, at::kBFloat16), Linear64(x, w, offsets)));
      const Fp8Rows dy = Poisoned(fp8_quantize_rows(Uneven(random, {M, N}, at::kBFloat16)));
      EXPECT_TRUE(IsNear(fp8_linear(dy, wt, offsets, at::kFloat), Linear64(dy, wt, offsets), at::kHalf));
    }
  }
}

TEST(Fp8Linear, TheNumberOfRowsDoesNotChangeARow) {
  RandomTensors random(44);
  const Tensor values = Uneven(random, {1000, 512}, at::kBFloat16);
  const Fp8Blocks w = fp8_quantize_weight(Uneven(random, {1, 256, 512}, at::kBFloat16)).plain;
  const Tensor all = fp8_linear(fp8_quantize_rows(values), w, std::nullopt, at::kBFloat16);
  const Tensor some = fp8_linear(fp8_quantize_rows(values.narrow(0, 300, 77)), w, std::nullopt, at::kBFloat16);
  EXPECT_TRUE(IsNear(some, all.narrow(0, 300, 77)));
}

Tensor Wgrad64(const Fp8Columns& dy, const Fp8Columns& x, const std::vector<int32_t>& counts) {
  const auto expand = [](const Fp8Columns& q) { return q.values.to(at::kDouble).mul(q.scales.to(at::kDouble).unsqueeze(2)).cpu(); };
  const Tensor dys = expand(dy), xs = expand(x);
  std::vector<Tensor> experts;
  int64_t block = 0;
  for (const int32_t count : counts) {
    Tensor sum = at::zeros({dys.size(1), xs.size(1)}, dys.options());
    for (int64_t b = 0; b < Blocks(count); ++b, ++block) sum.add_(at::matmul(dys[block], xs[block].t()));
    experts.push_back(sum);
  }
  return at::stack(experts);
}

TEST(Fp8Wgrad, SumsOverTheRowsOfEachExpert) {
  RandomTensors random(45);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const std::vector<int32_t>& counts : std::vector<std::vector<int32_t>>{{130}, {3, 0, 130}, {0, 257, 0, 1}, {1000, 24}}) {
      const Tensor offsets = Offsets(counts);
      const int64_t M = offsets[-1].item<int>();
      for (const auto& [N, K] : std::vector<std::pair<int64_t, int64_t>>{{8, 16}, {264, 392}}) {
        const Fp8Columns dy = fp8_quantize_columns(Uneven(random, {M, N}, at::kBFloat16), offsets);
        const Fp8Columns x = fp8_quantize_columns(Uneven(random, {M, K}, at::kBFloat16), offsets);
        const Tensor dw = fp8_wgrad(dy, x, offsets, M, dtype);
        EXPECT_TRUE(IsNear(dw, Wgrad64(dy, x, counts), dtype == at::kFloat ? at::kHalf : dtype)) << M << " rows, " << N << " x " << K;
      }
    }
  }
}

TEST(Fp8Wgrad, TakesOneMatrixWithoutOffsetsAndNoRows) {
  RandomTensors random(46);
  const Fp8Columns dy = fp8_quantize_columns(Uneven(random, {200, 40}, at::kBFloat16), std::nullopt);
  const Fp8Columns x = fp8_quantize_columns(Uneven(random, {200, 24}, at::kBFloat16), std::nullopt);
  EXPECT_TRUE(IsNear(fp8_wgrad(dy, x, std::nullopt, 200, at::kFloat), Wgrad64(dy, x, {200}), at::kHalf));
  const Tensor none = at::empty({0, 16}, at::TensorOptions().device(TestDevice()));
  const Fp8Columns no_rows = fp8_quantize_columns(none, Offsets({0, 0}));
  EXPECT_TRUE(IsSame(fp8_wgrad(no_rows, no_rows, Offsets({0, 0}), 0, at::kFloat), at::zeros({2, 16, 16}, none.options())));
}

TEST(Fp8Rows, MatchTheExpandedProductForEveryNumberOfRows) {
  RandomTensors random(47);
  for (const at::ScalarType dtype : FloatDtypes()) {
    for (const int64_t M : {1, 2, 7, 8, 9, 16}) {
      for (const auto& [N, K] : std::vector<std::pair<int64_t, int64_t>>{{16, 128}, {130, 1040}, {37, 67}, {576, 512}}) {
        const Tensor x = random.Normal({M, K}, dtype), bias = random.Normal({N}, dtype);
        const Fp8Blocks w = Poisoned(fp8_quantize_weight(Uneven(random, {1, N, K}, at::kFloat)).plain);
        const Tensor expected = at::matmul(x.cpu().to(at::kDouble), fp8_expand(w, at::kDouble).cpu()[0].t());
        EXPECT_TRUE(IsNear(fp8_linear_rows(x, w, std::nullopt), expected, dtype)) << M << " x " << N << " x " << K;
        EXPECT_TRUE(IsNear(fp8_linear_rows(x, w, bias), expected.add(bias.cpu().to(at::kDouble)), dtype));
      }
    }
  }
}

TEST(Fp8Rows, GiveARowTheSameBitsAloneAndAmongOthers) {
  RandomTensors random(48);
  const Tensor x = random.Normal({kMaxLinearRows, 784}, at::kBFloat16);
  const Fp8Blocks w = fp8_quantize_weight(Uneven(random, {1, 200, 784}, at::kFloat)).plain;
  const Tensor all = fp8_linear_rows(x, w, std::nullopt);
  for (int64_t m = 0; m < kMaxLinearRows; ++m) EXPECT_TRUE(IsSame(fp8_linear_rows(x.narrow(0, m, 1), w, std::nullopt), all.narrow(0, m, 1)));
}

TEST(Fp8Rows, OfExpertsMatchTheirMatrices) {
  RandomTensors random(49);
  for (const at::ScalarType dtype : FloatDtypes()) {
    for (const std::vector<int32_t>& counts : std::vector<std::vector<int32_t>>{{1, 0, 1, 0, 0, 0}, {3, 0, 30}, {5, 9}}) {
      const Tensor offsets = Offsets(counts);
      const int64_t M = offsets[-1].item<int>(), E = static_cast<int64_t>(counts.size());
      const Tensor x = random.Normal({M, 272}, dtype);
      const Fp8Blocks w = Poisoned(fp8_quantize_weight(Uneven(random, {E, 144, 272}, at::kFloat)).plain);
      std::vector<Tensor> parts;
      int64_t row = 0;
      for (int64_t e = 0; e < E; ++e) {
        parts.push_back(at::matmul(x.cpu().to(at::kDouble).narrow(0, row, counts[e]), fp8_expand(w, at::kDouble).cpu()[e].t()));
        row += counts[e];
      }
      EXPECT_TRUE(IsNear(fp8_grouped_rows(x, w, offsets), at::cat(parts, 0), dtype));
    }
  }
}

TEST(Fp8, ThrowsRatherThanCutTheGraphOrTakeWrongShapes) {
  RandomTensors random(50);
  const Tensor x = random.Normal({4, 128}, at::kFloat);
  EXPECT_THROW(fp8_quantize_rows(x.detach().requires_grad_(true)), InvariantError);
  const Fp8Rows q = fp8_quantize_rows(x);
  const Fp8Blocks w = fp8_quantize_weight(random.Normal({2, 16, 128}, at::kFloat)).plain;
  EXPECT_THROW(fp8_linear(q, w, std::nullopt, at::kFloat), InvariantError);
  EXPECT_THROW(fp8_linear(q, w, Offsets({1, 2, 1}), at::kFloat), InvariantError);
  EXPECT_THROW(fp8_linear(q, w, Offsets({2, 2}), at::kHalf), InvariantError);
  EXPECT_THROW(fp8_linear({q.values, q.scales.t()}, w, Offsets({2, 2}), at::kFloat), InvariantError);
}

}  // namespace
}  // namespace fathom::ops
