#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <cmath>
#include <vector>

#include "ops/attention/visible_keys.h"
#include "ops/cpu/dtype.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

// The keys that query `i` sees, as positions in its sequence.
std::vector<int64_t> VisibleList(const KeyRange& range, const int32_t* topk, int64_t topk_size) {
  std::vector<int64_t> keys;
  if (topk == nullptr) {
    for (int64_t j = range.begin; j < range.end; ++j) keys.push_back(j);
  } else {
    for (int64_t s = 0; s < topk_size; ++s) {
      if (topk[s] >= range.begin && topk[s] < range.end) keys.push_back(topk[s]);
    }
  }
  return keys;
}

// With P = exp(scale S - lse): dV = P^T dO, dS = P (dO V^T - rowsum(dO O)), dQ = scale dS K, dK = scale dS^T Q.
// One task a sequence and key head, so that no sum depends on the number of threads.
std::tuple<Tensor, Tensor, Tensor> PackedAttentionBackwardCpu(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
                                                              const Tensor& out, const Tensor& lse, const Tensor& cu_q, const Tensor& cu_k,
                                                              double scale, int64_t window, const OptionalTensor& topk_idx) {
  const int64_t H = q.size(1), Dk = q.size(2), G = k.size(1), Dv = v.size(2), B = cu_q.size(0) - 1, heads = H / G;
  Tensor dq = at::zeros(q.sizes(), q.options()), dk = at::zeros(k.sizes(), k.options()), dv = at::zeros(v.sizes(), v.options());
  const int32_t *cq = cu_q.const_data_ptr<int32_t>(), *ck = cu_k.const_data_ptr<int32_t>();
  const Tensor grad = dout.contiguous();
  DispatchFloat(q.scalar_type(), [&](auto zero) {
    using V = decltype(zero);
    at::parallel_for(0, B * G, 1, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t b = item / G, g = item % G, n_q = cq[b + 1] - cq[b], n_k = ck[b + 1] - ck[b];
        std::vector<float> dk_sum(n_k * Dk), dv_sum(n_k * Dv), dq_sum(Dk);
        for (int64_t i = 0; i < n_q; ++i) {
          const int64_t t = cq[b] + i, S = topk_idx ? topk_idx->size(1) : 0;
          const auto visible =
              VisibleList(VisibleRange(i, n_q, n_k, window), topk_idx ? topk_idx->const_data_ptr<int32_t>() + t * S : nullptr, S);
          for (int64_t h = g * heads; h < (g + 1) * heads; ++h) {
            const V* q_row = q.const_data_ptr<V>() + t * q.stride(0) + h * q.stride(1);
            const V *go = grad.const_data_ptr<V>() + (t * H + h) * Dv, *o = out.const_data_ptr<V>() + (t * H + h) * Dv;
            const float row_lse = lse.const_data_ptr<float>()[t * H + h];
            float delta = 0;
            for (int64_t d = 0; d < Dv; ++d) delta += static_cast<float>(go[d]) * static_cast<float>(o[d]);
            std::fill(dq_sum.begin(), dq_sum.end(), 0.0f);
            for (const int64_t j : visible) {
              const V* k_row = k.const_data_ptr<V>() + (ck[b] + j) * k.stride(0) + g * k.stride(1);
              const V* v_row = v.const_data_ptr<V>() + (ck[b] + j) * v.stride(0) + g * v.stride(1);
              float dot = 0, dp = 0;
              for (int64_t d = 0; d < Dk; ++d) dot += static_cast<float>(q_row[d]) * static_cast<float>(k_row[d]);
              for (int64_t d = 0; d < Dv; ++d) dp += static_cast<float>(go[d]) * static_cast<float>(v_row[d]);
              const float p = std::exp(static_cast<float>(scale) * dot - row_lse), ds = static_cast<float>(scale) * p * (dp - delta);
              for (int64_t d = 0; d < Dv; ++d) dv_sum[j * Dv + d] += p * static_cast<float>(go[d]);
              for (int64_t d = 0; d < Dk; ++d) {
                dq_sum[d] += ds * static_cast<float>(k_row[d]);
                dk_sum[j * Dk + d] += ds * static_cast<float>(q_row[d]);
              }
            }
            V* dq_row = dq.mutable_data_ptr<V>() + (t * H + h) * Dk;
            for (int64_t d = 0; d < Dk; ++d) dq_row[d] = static_cast<V>(dq_sum[d]);
          }
        }
        for (int64_t j = 0; j < n_k; ++j) {
          V* dk_row = dk.mutable_data_ptr<V>() + ((ck[b] + j) * G + g) * Dk;
          V* dv_row = dv.mutable_data_ptr<V>() + ((ck[b] + j) * G + g) * Dv;
          for (int64_t d = 0; d < Dk; ++d) dk_row[d] = static_cast<V>(dk_sum[j * Dk + d]);
          for (int64_t d = 0; d < Dv; ++d) dv_row[d] = static_cast<V>(dv_sum[j * Dv + d]);
        }
      }
    });
  });
  return {dq, dk, dv};
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CPU, m) { m.impl("packed_attention_backward", TORCH_FN(PackedAttentionBackwardCpu)); }

}  // namespace fathom::ops
