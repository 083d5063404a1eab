#include "ops/linear/linear_rows.h"

#include <ATen/ops/matmul.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "ops/random_tensor.h"
#include "ops/tolerance.h"

namespace fathom::ops {
namespace {

struct Dtypes {
  at::ScalarType x, w;
};
constexpr Dtypes kPairs[] = {{at::kFloat, at::kFloat}, {at::kBFloat16, at::kBFloat16}, {at::kFloat, at::kBFloat16}, {at::kHalf, at::kHalf}};

at::Tensor Formula64(const at::Tensor& x, const at::Tensor& w, const std::optional<at::Tensor>& bias) {
  const at::Tensor y = at::matmul(x.to(at::kDouble), w.to(at::kDouble).t());
  return bias ? y.add(bias->to(at::kDouble)) : y;
}

TEST(LinearRows, MatchesTheFormulaForEveryNumberOfRowsAndOddSizes) {
  RandomTensors random(11);
  for (const auto [x_dtype, w_dtype] : kPairs) {
    for (int64_t M = 1; M <= kMaxLinearRows; ++M) {
      for (const auto& [N, K] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {5, 31}, {67, 33}, {13, 576}, {130, 97}}) {
        const at::Tensor x = random.Normal({M, K}, x_dtype), w = random.Normal({N, K}, w_dtype);
        std::optional<at::Tensor> bias;
        if (M % 2 == 0) bias = random.Normal({N}, w_dtype);
        const at::Tensor y = linear_rows(x, w, bias);
        EXPECT_EQ(y.scalar_type(), x_dtype);
        EXPECT_TRUE(IsNear(y, Formula64(x, w, bias))) << M << " x " << N << " x " << K;
      }
    }
  }
}

TEST(LinearRows, GivesARowTheSameBitsAloneAndAmongOthers) {
  RandomTensors random(12);
  for (const auto [x_dtype, w_dtype] : kPairs) {
    const at::Tensor x = random.Normal({kMaxLinearRows, 203}, x_dtype), w = random.Normal({301, 203}, w_dtype);
    const at::Tensor all = linear_rows(x, w, std::nullopt);
    for (const int64_t M : {1, 2, 3, 4, 5, 7, 8, 9, 11, 15}) {
      for (int64_t first = 0; first + M <= kMaxLinearRows; first += M) {
        EXPECT_TRUE(IsSame(linear_rows(x.narrow(0, first, M).contiguous(), w, std::nullopt), all.narrow(0, first, M))) << M;
      }
    }
  }
}

TEST(LinearRows, GivesAWeightsRowTheSameBitsWhereverItStands) {
  RandomTensors random(13);
  for (const auto [x_dtype, w_dtype] : kPairs) {
    const at::Tensor x = random.Normal({3, 130}, x_dtype), w = random.Normal({61, 130}, w_dtype);
    const at::Tensor all = linear_rows(x, w, std::nullopt);
    for (int64_t n = 0; n < 61; n += 7) {
      EXPECT_TRUE(IsSame(linear_rows(x, w.narrow(0, n, 1), std::nullopt), all.narrow(1, n, 1)));
    }
  }
}

TEST(LinearRows, AcceptsNoRowsNoOutputsAndNoInputs) {
  const auto options = at::TensorOptions().device(TestDevice());
  EXPECT_EQ(linear_rows(at::empty({0, 8}, options), at::empty({4, 8}, options), std::nullopt).sizes(), (std::vector<int64_t>{0, 4}));
  EXPECT_EQ(linear_rows(at::empty({2, 8}, options), at::empty({0, 8}, options), std::nullopt).sizes(), (std::vector<int64_t>{2, 0}));
  const at::Tensor bias = IntTensor({1, 2, 3}).to(at::kFloat);
  EXPECT_TRUE(IsSame(linear_rows(at::empty({1, 0}, options), at::empty({3, 0}, options), bias), bias.unsqueeze(0)));
}

TEST(LinearRows, RefusesMoreRowsThanItsKernelsHave) {
  RandomTensors random(14);
  EXPECT_THROW(linear_rows(random.Normal({kMaxLinearRows + 1, 4}, at::kFloat), random.Normal({4, 4}, at::kFloat), std::nullopt), InvariantError);
}

TEST(LinearRows, ThrowsRatherThanCutTheGraph) {
  RandomTensors random(15);
  const at::Tensor x = random.Normal({2, 4}, at::kFloat).requires_grad_(true), w = random.Normal({4, 4}, at::kFloat);
  EXPECT_THROW(linear_rows(x, w, std::nullopt), InvariantError);
}

}  // namespace
}  // namespace fathom::ops
