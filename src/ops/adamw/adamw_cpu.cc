#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/adamw/adamw_step.h"
#include "ops/cpu/dtype.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

constexpr int64_t kChunk = 32768;  // values of one task: the order of sums does not depend on the number of threads

int64_t NumChunks(const Tensor& x) { return (x.numel() + kChunk - 1) / kChunk; }

// f(tensor, first value, one past the last) over the chunks of all tensors, in parallel; `task` counts them.
template <typename F>
void ForEachChunk(at::TensorList tensors, const F& f) {
  std::vector<int64_t> first(1, 0);
  for (const Tensor& tensor : tensors) first.push_back(first.back() + NumChunks(tensor));
  at::parallel_for(0, first.back(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const auto tensor = static_cast<size_t>(std::upper_bound(first.begin(), first.end(), task) - first.begin() - 1);
      const int64_t from = (task - first[tensor]) * kChunk;
      f(task, tensor, from, std::min(from + kChunk, tensors[tensor].numel()));
    }
  });
}

Tensor GradientNormCpu(at::TensorList gradients) {
  int64_t num_chunks = 0;
  for (const Tensor& gradient : gradients) num_chunks += NumChunks(gradient);
  std::vector<double> partial(static_cast<size_t>(num_chunks), 0.0);
  ForEachChunk(gradients, [&](int64_t task, size_t i, int64_t begin, int64_t end) {
    DispatchFloat(gradients[i].scalar_type(), [&](auto zero) {
      const auto* g = gradients[i].const_data_ptr<decltype(zero)>();
      double sum = 0;
      for (int64_t at = begin; at < end; ++at) sum += static_cast<double>(static_cast<float>(g[at])) * static_cast<double>(static_cast<float>(g[at]));
      partial[static_cast<size_t>(task)] = sum;
    });
  });
  double sum = 0;
  for (const double part : partial) sum += part;
  Tensor norm = at::empty({1}, at::TensorOptions(at::kFloat));
  *norm.mutable_data_ptr<float>() = static_cast<float>(std::sqrt(sum));
  return norm;
}

template <typename W, typename G, typename M>
void StepChunk(W* w, const G* g, M* m, M* v, float* master, int64_t n, float scale, const AdamWScalars& scalars) {
  for (int64_t i = 0; i < n; ++i) {
    float first = static_cast<float>(m[i]), second = static_cast<float>(v[i]);
    const float before = master != nullptr ? master[i] : static_cast<float>(w[i]);
    const float after = AdamWStep(before, static_cast<float>(g[i]) * scale, first, second, scalars);
    m[i] = static_cast<M>(first);
    v[i] = static_cast<M>(second);
    if (master != nullptr) master[i] = after;
    w[i] = static_cast<W>(after);
  }
}

void AdamWCpu(at::TensorList weights, at::TensorList gradients, at::TensorList first_moments, at::TensorList second_moments, at::TensorList masters,
              const Tensor& norm, double lr, double beta1, double beta2, double eps, double weight_decay, double max_norm, int64_t step) {
  const AdamWScalars scalars = MakeAdamWScalars(lr, beta1, beta2, eps, weight_decay, max_norm, step);
  const float scale = ClipScale(*norm.const_data_ptr<float>(), scalars.max_norm);
  if (scale < 0) return;
  const auto with_gradient = [&](auto weight, auto gradient, auto moment) {
    using W = decltype(weight);
    using G = decltype(gradient);
    using M = decltype(moment);
    ForEachChunk(weights, [&](int64_t, size_t i, int64_t begin, int64_t end) {
      StepChunk<W, G, M>(weights[i].mutable_data_ptr<W>() + begin, gradients[i].const_data_ptr<G>() + begin, first_moments[i].mutable_data_ptr<M>() + begin,
                         second_moments[i].mutable_data_ptr<M>() + begin, masters.empty() ? nullptr : masters[i].mutable_data_ptr<float>() + begin,
                         end - begin, scale, scalars);
    });
  };
  DispatchFloat(weights[0].scalar_type(), [&](auto weight) {
    const bool wide_gradient = gradients[0].scalar_type() == at::kFloat, wide_moment = first_moments[0].scalar_type() == at::kFloat;
    if (wide_gradient && wide_moment) with_gradient(weight, float{}, float{});
    else if (wide_gradient) with_gradient(weight, float{}, c10::BFloat16{});
    else if (wide_moment) with_gradient(weight, weight, float{});
    else with_gradient(weight, weight, c10::BFloat16{});
  });
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CPU, m) {
  m.impl("gradient_norm", TORCH_FN(GradientNormCpu));
  m.impl("adamw", TORCH_FN(AdamWCpu));
}

}  // namespace fathom::ops
