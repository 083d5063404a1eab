#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/cpu/dtype.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

// One row of float32 logits in place: the gradient scale * (softmax (1 + 2 z lse) - onehot), and (lse, nll).
// The inner loops have no branch and no call that stops the compiler from using vectors but exp.
std::pair<float, float> Row(float* logits, int64_t V, int64_t target, float scale, float z_loss, bool gradient) {
  float top = logits[0];
  for (int64_t v = 1; v < V; ++v) top = std::max(top, logits[v]);
  const float target_logit = target == kIgnoredTarget ? 0.0f : logits[target];
  float sum = 0;
  for (int64_t v = 0; v < V; ++v) {
    const float e = std::exp(logits[v] - top);
    if (gradient) logits[v] = e;
    sum += e;
  }
  const float lse = top + std::log(sum);
  if (target == kIgnoredTarget) {
    if (gradient) std::fill(logits, logits + V, 0.0f);
    return {lse, 0.0f};
  }
  if (gradient) {
    const float factor = scale * (1.0f + 2.0f * z_loss * lse) / sum;
    for (int64_t v = 0; v < V; ++v) logits[v] *= factor;
    logits[target] -= scale;
  }
  return {lse, lse - target_logit};
}

std::tuple<Tensor, Tensor> CrossEntropyRowsCpu(const Tensor& logits_TV, const Tensor& targets_T, const Tensor& scales_T, double z_loss, bool gradient) {
  const int64_t T = logits_TV.size(0), V = logits_TV.size(1);
  Tensor nll_T = at::empty({T}, scales_T.options()), lse_T = at::empty({T}, scales_T.options());
  float *nll = nll_T.mutable_data_ptr<float>(), *lse = lse_T.mutable_data_ptr<float>();
  const float* scales = scales_T.const_data_ptr<float>();
  const int64_t* targets = targets_T.const_data_ptr<int64_t>();
  for (int64_t t = 0; t < T; ++t) {
    FATHOM_CHECK(targets[t] == kIgnoredTarget || (targets[t] >= 0 && targets[t] < V), "cross_entropy: target {} of a vocabulary of {}", targets[t], V);
  }
  DispatchFloat(logits_TV.scalar_type(), [&](auto zero) {
    using T_ = decltype(zero);
    T_* logits = logits_TV.mutable_data_ptr<T_>();
    at::parallel_for(0, T, std::max<int64_t>(1, 16384 / V), [&](int64_t begin, int64_t end) {
      std::vector<float> row(static_cast<size_t>(V));
      for (int64_t t = begin; t < end; ++t) {
        T_* values = logits + t * V;
        std::copy(values, values + V, row.begin());
        std::tie(lse[t], nll[t]) = Row(row.data(), V, targets[t], scales[t], static_cast<float>(z_loss), gradient);
        if (gradient) std::transform(row.begin(), row.end(), values, [](float value) { return static_cast<T_>(value); });
      }
    });
  });
  return {nll_T, lse_T};
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CPU, m) { m.impl("cross_entropy_rows", TORCH_FN(CrossEntropyRowsCpu)); }

}  // namespace fathom::ops
