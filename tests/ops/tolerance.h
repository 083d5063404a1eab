// How near two results must be: the tolerance belongs to the dtype that the result was rounded to, and is written here once.
// The reference is computed in float64 from the same (rounded) inputs.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/max.h>
#include <c10/core/ScalarType.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

namespace fathom::ops {

struct Tolerance {
  double relative, absolute;
};

// `absolute` is in units of the reference's largest magnitude: sums that cancel keep the error of their terms.
inline Tolerance ToleranceOf(at::ScalarType dtype) {
  switch (dtype) {
    case at::kBFloat16: return {.relative = 1.0 / 64, .absolute = 1.0 / 128};
    case at::kHalf: return {.relative = 1.0 / 512, .absolute = 1.0 / 1024};
    case at::kDouble: return {.relative = 1e-10, .absolute = 1e-11};
    default: return {.relative = 2e-5, .absolute = 4e-6};
  }
}

// |actual - expected| <= relative * |expected| + absolute * max |expected| everywhere, and nothing is NaN.
inline ::testing::AssertionResult IsNear(const at::Tensor& actual, const at::Tensor& expected, at::ScalarType dtype) {
  if (actual.sizes() != expected.sizes()) {
    return ::testing::AssertionFailure() << "shapes differ: " << actual.sizes() << " and " << expected.sizes();
  }
  if (actual.numel() == 0) return ::testing::AssertionSuccess();
  const at::Tensor a = actual.detach().to(at::kCPU, at::kDouble).contiguous(), e = expected.detach().to(at::kCPU, at::kDouble).contiguous();
  const Tolerance tolerance = ToleranceOf(dtype);
  const double largest = e.abs().max().item<double>();
  const double *ap = a.const_data_ptr<double>(), *ep = e.const_data_ptr<double>();
  for (int64_t i = 0; i < a.numel(); ++i) {
    const double error = std::abs(ap[i] - ep[i]);
    if (!(error <= tolerance.relative * std::abs(ep[i]) + tolerance.absolute * largest)) {
      return ::testing::AssertionFailure() << "value " << i << " of " << a.numel() << " is " << ap[i] << ", expected " << ep[i]
                                           << " (largest " << largest << ", " << c10::toString(dtype) << ")";
    }
  }
  return ::testing::AssertionSuccess();
}

inline ::testing::AssertionResult IsNear(const at::Tensor& actual, const at::Tensor& expected) {
  return IsNear(actual, expected, actual.scalar_type());
}

// The same bits (NaN equal to NaN).
inline ::testing::AssertionResult IsSame(const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type() && a.equal(b)) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "tensors differ in bits, shape or dtype: " << a.sizes() << " and " << b.sizes();
}

}  // namespace fathom::ops
