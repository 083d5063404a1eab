#include "model/linear/linear.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <memory>

#include "base/error.h"
#include "model/linear/dense_weight.h"
#include "model/linear/fp8_weight.h"
#include "model/linear/grouped_linear.h"
#include "model/linear/weight_grad_queue.h"

namespace fathom {
namespace {

double Difference(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

class LinearRows : public ::testing::TestWithParam<int64_t> {};

// Up to 16 rows go through the row kernel, more through the library: the formula and its gradients are the same.
TEST_P(LinearRows, ProductAndGradientsAreTheFormulas) {
  at::manual_seed(1);
  const at::Tensor w = at::randn({21, 13}).requires_grad_(true), b = at::randn({21}).requires_grad_(true);
  const at::Tensor x = at::randn({GetParam(), 13}).requires_grad_(true), dy = at::randn({GetParam(), 21});
  const Linear linear(std::make_shared<DenseWeight>(w), b);
  const at::Tensor y = linear(x);
  EXPECT_LE(Difference(y, at::linear(x, w, b)), 1e-5);
  y.backward(dy);
  EXPECT_LE(Difference(x.grad(), at::matmul(dy, w)), 1e-5);
  EXPECT_LE(Difference(w.grad(), at::matmul(dy.t(), x)), 1e-4);
  EXPECT_LE(Difference(b.grad(), dy.sum(0)), 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Sizes, LinearRows, ::testing::Values(1, 16, 17, 70));

TEST(Linear, AWeightsGradientWaitsInAQueueWhileTheInputsComesAtOnce) {
  const at::Tensor w = at::randn({5, 7}).requires_grad_(true), x = at::randn({3, 7}).requires_grad_(true);
  const Linear linear(std::make_shared<DenseWeight>(w), std::nullopt);
  const auto queue = std::make_shared<WeightGradQueue>();
  at::Tensor y;
  {
    const WeightGradScope scope(queue);
    y = linear(x);
  }
  y.sum().backward();
  EXPECT_TRUE(x.grad().defined());
  EXPECT_FALSE(w.grad().defined());
  EXPECT_EQ(queue->size(), 1u);
  queue->Run();
  EXPECT_EQ(queue->size(), 0u);
  EXPECT_LE(Difference(w.grad(), at::ones({3, 5}).t().matmul(x)), 1e-5);
}

TEST(GroupedLinear, ItsWeightsGradientIsThatOfEachExpertAlone) {
  const at::Tensor w = at::randn({3, 4, 6}).requires_grad_(true), x = at::randn({5, 6}).requires_grad_(true);
  const at::Tensor offsets = at::tensor({0, 2, 2, 5}, at::kInt);  // the second expert has no row
  const GroupedLinear linear(std::make_shared<DenseGroupedWeight>(w));
  const at::Tensor y = linear(x, offsets);
  EXPECT_LE(Difference(y.narrow(0, 2, 3), at::matmul(x.narrow(0, 2, 3), w.select(0, 2).t())), 1e-5);
  y.sum().backward();
  EXPECT_EQ(w.grad().select(0, 1).abs().max().item<double>(), 0);
  EXPECT_LE(Difference(w.grad().select(0, 2), at::ones({3, 4}).t().matmul(x.narrow(0, 2, 3))), 1e-5);
}

// Values, scales and the plain product of blocks with ragged ends.
struct Fp8Case {
  Fp8Case() {
    at::manual_seed(2);
    quantization.block_rows = 8;
    quantization.block_cols = 6;
    values = at::randn({21, 13}).to(at::kFloat8_e4m3fn);
    scales = at::rand({3, 3}) + 0.5;
    dense = values.to(at::kFloat) * scales.repeat_interleave(8, 0).narrow(0, 0, 21).repeat_interleave(6, 1).narrow(1, 0, 13);
    weight = std::make_shared<Fp8BlockWeight>(21, 13, quantization);
    weight->Set(values, scales);
  }
  QuantizationConfig quantization;
  at::Tensor values, scales, dense;
  std::shared_ptr<Fp8BlockWeight> weight;
};

TEST(Fp8BlockWeight, MultipliesAsItsExpandedValues) {
  const Fp8Case fp8;
  const at::Tensor x = at::randn({4, 13}), y = at::randn({4, 9});
  EXPECT_LE(Difference(fp8.weight->Forward(x, std::nullopt), at::matmul(x, fp8.dense.t())), 1e-5);
  EXPECT_LE(Difference(fp8.weight->ForwardRows(x, 5, 14), at::matmul(x, fp8.dense.narrow(0, 5, 9).t())), 1e-5);
  EXPECT_LE(Difference(fp8.weight->TransposedRows(y, 5, 14), at::matmul(y, fp8.dense.narrow(0, 5, 9))), 1e-5);
}

TEST(Fp8BlockWeight, ScalesThatDoNotFitAreRefused) {
  const Fp8Case fp8;
  EXPECT_THROW(fp8.weight->Set(fp8.values, at::ones({2, 3})), UserError);
  EXPECT_THROW(fp8.weight->Set(fp8.values.to(at::kFloat), fp8.scales), UserError);
}

TEST(StackedWeight, IsItsPartsOneAboveTheOther) {
  const Fp8Case fp8;
  const StackedWeight stacked({fp8.weight, fp8.weight});
  const at::Tensor dense = at::cat({fp8.dense, fp8.dense}, 0), x = at::randn({2, 13});
  EXPECT_EQ(stacked.out_features(), 42);
  EXPECT_LE(Difference(stacked.ForwardRows(x, 18, 30), at::matmul(x, dense.narrow(0, 18, 12).t())), 1e-5);
  EXPECT_LE(Difference(stacked.TransposedRows(at::ones({2, 12}), 18, 30), at::matmul(at::ones({2, 12}), dense.narrow(0, 18, 12))), 1e-5);
}

TEST(Linear, HeadsAreRowsOfEachHead) {
  at::manual_seed(3);
  const auto dense = std::make_shared<DenseWeight>(at::randn({3 * 5, 7}));
  const at::Tensor x = at::randn({2, 3, 7}), y = at::randn({2, 3, 2});
  EXPECT_LE(Difference(dense->ForwardHeads(x, 5, 1, 3), dense->LinearWeight::ForwardHeads(x, 5, 1, 3)), 1e-5);
  EXPECT_LE(Difference(dense->TransposedHeads(y, 5, 1, 3), dense->LinearWeight::TransposedHeads(y, 5, 1, 3)), 1e-5);
}

}  // namespace
}  // namespace fathom
