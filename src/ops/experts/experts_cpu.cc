// Moving rows: sort by expert, gather, weighted sum. The products are in grouped_linear_cpu.cc.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "ops/cpu/dtype.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

constexpr int64_t kExpertGrainValues = 16384;

int64_t ExpertRowGrain(int64_t row_values) { return std::max<int64_t>(1, kExpertGrainValues / std::max<int64_t>(1, row_values)); }

std::vector<int32_t> Inverse(const Tensor& order) {
  const int64_t n = order.numel();
  const int32_t* op = order.const_data_ptr<int32_t>();
  std::vector<int32_t> position(n);
  for (int64_t i = 0; i < n; ++i) {
    FATHOM_CHECK(op[i] >= 0 && op[i] < n, "order must be a permutation of {} choices, got {}", n, op[i]);
    position[op[i]] = static_cast<int32_t>(i);
  }
  return position;
}

std::tuple<Tensor, Tensor> SortByExpertCpu(const Tensor& topk_idx, int64_t num_experts) {
  const int64_t n = topk_idx.numel();
  Tensor order = at::empty({n}, topk_idx.options()), offsets = at::empty({num_experts + 1}, topk_idx.options());
  const int32_t* ip = topk_idx.const_data_ptr<int32_t>();
  std::vector<int32_t> next(num_experts + 1, 0);
  for (int64_t i = 0; i < n; ++i) {
    FATHOM_CHECK(ip[i] >= 0 && ip[i] < num_experts, "sort_by_expert: expert {} of {}", ip[i], num_experts);
    ++next[ip[i] + 1];
  }
  for (int64_t e = 0; e < num_experts; ++e) next[e + 1] += next[e];
  std::copy(next.begin(), next.end(), offsets.mutable_data_ptr<int32_t>());
  int32_t* op = order.mutable_data_ptr<int32_t>();
  for (int64_t i = 0; i < n; ++i) op[next[ip[i]]++] = static_cast<int32_t>(i);
  return {order, offsets};
}

Tensor GatherTokensCpu(const Tensor& x, const Tensor& order, int64_t top_k) {
  const int64_t n = order.numel(), D = x.size(1), row_bytes = D * x.element_size();
  Tensor y = at::empty({n, D}, x.options());
  const char* xp = static_cast<const char*>(x.const_data_ptr());
  char* yp = static_cast<char*>(y.mutable_data_ptr());
  const int32_t* op = order.const_data_ptr<int32_t>();
  at::parallel_for(0, n, ExpertRowGrain(D), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) std::memcpy(yp + i * row_bytes, xp + op[i] / top_k * row_bytes, row_bytes);
  });
  return y;
}

// dx[t] = sum_k dy[pos(t*K + k)], in order of k: the same sum whatever the number of threads.
Tensor GatherTokensBackwardCpu(const Tensor& dy, const Tensor& order, int64_t top_k) {
  const int64_t D = dy.size(1), T = order.numel() / top_k;
  Tensor dx = at::empty({T, D}, dy.options());
  const Tensor grad = dy.contiguous();
  const std::vector<int32_t> position = Inverse(order);
  DispatchFloat(dy.scalar_type(), [&](auto zero) {
    using V = decltype(zero);
    const V* gp = grad.const_data_ptr<V>();
    V* dxp = dx.mutable_data_ptr<V>();
    at::parallel_for(0, T, ExpertRowGrain(D * top_k), [&](int64_t begin, int64_t end) {
      std::vector<float> sum(D);
      for (int64_t t = begin; t < end; ++t) {
        std::fill(sum.begin(), sum.end(), 0.0f);
        for (int64_t k = 0; k < top_k; ++k) {
          const V* row = gp + position[t * top_k + k] * D;
          for (int64_t d = 0; d < D; ++d) sum[d] += static_cast<float>(row[d]);
        }
        for (int64_t d = 0; d < D; ++d) dxp[t * D + d] = static_cast<V>(sum[d]);
      }
    });
  });
  return dx;
}

Tensor CombineTokensCpu(const Tensor& x, const Tensor& order, const Tensor& weights) {
  const int64_t D = x.size(1), T = weights.size(0), K = weights.size(1);
  Tensor y = at::empty({T, D}, x.options());
  const std::vector<int32_t> position = Inverse(order);
  const float* wp = weights.const_data_ptr<float>();
  DispatchFloat(x.scalar_type(), [&](auto zero) {
    using V = decltype(zero);
    const V* xp = x.const_data_ptr<V>();
    V* yp = y.mutable_data_ptr<V>();
    at::parallel_for(0, T, ExpertRowGrain(D * K), [&](int64_t begin, int64_t end) {
      std::vector<float> sum(D);
      for (int64_t t = begin; t < end; ++t) {
        std::fill(sum.begin(), sum.end(), 0.0f);
        for (int64_t k = 0; k < K; ++k) {
          const V* row = xp + position[t * K + k] * D;
          const float weight = wp[t * K + k];
          for (int64_t d = 0; d < D; ++d) sum[d] += weight * static_cast<float>(row[d]);
        }
        for (int64_t d = 0; d < D; ++d) yp[t * D + d] = static_cast<V>(sum[d]);
      }
    });
  });
  return y;
}

// dx[i] = weights[order[i]] dy[order[i] / K],  dweights[order[i]] = dy[order[i] / K] . x[i].
std::tuple<Tensor, Tensor> CombineTokensBackwardCpu(const Tensor& dy, const Tensor& x, const Tensor& order, const Tensor& weights) {
  const int64_t n = x.size(0), D = x.size(1), K = weights.size(1);
  Tensor dx = at::empty({n, D}, x.options()), dweights = at::empty(weights.sizes(), weights.options());
  const Tensor grad = dy.contiguous();
  const int32_t* op = order.const_data_ptr<int32_t>();
  const float* wp = weights.const_data_ptr<float>();
  float* dwp = dweights.mutable_data_ptr<float>();
  DispatchFloat(x.scalar_type(), [&](auto zero) {
    using V = decltype(zero);
    const V *xp = x.const_data_ptr<V>(), *gp = grad.const_data_ptr<V>();
    V* dxp = dx.mutable_data_ptr<V>();
    at::parallel_for(0, n, ExpertRowGrain(D), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const V *g = gp + op[i] / K * D, *row = xp + i * D;
        const float weight = wp[op[i]];
        float dot = 0;
        for (int64_t d = 0; d < D; ++d) {
          dot += static_cast<float>(g[d]) * static_cast<float>(row[d]);
          dxp[i * D + d] = static_cast<V>(weight * static_cast<float>(g[d]));
        }
        dwp[op[i]] = dot;
      }
    });
  });
  return {dx, dweights};
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CPU, m) {
  m.impl("sort_by_expert", TORCH_FN(SortByExpertCpu));
  m.impl("gather_tokens", TORCH_FN(GatherTokensCpu));
  m.impl("gather_tokens_backward", TORCH_FN(GatherTokensBackwardCpu));
  m.impl("combine_tokens", TORCH_FN(CombineTokensCpu));
  m.impl("combine_tokens_backward", TORCH_FN(CombineTokensBackwardCpu));
}

}  // namespace fathom::ops
