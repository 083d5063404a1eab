#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <cmath>
#include <limits>
#include <vector>

#include "ops/attention/visible_keys.h"
#include "ops/cpu/dtype.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

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

// One query row against its keys. q = (q1 [D1], q2 [D2]); out [Dv]; returns the logsumexp.
template <typename V>
float AttendRow(const V* q1, int64_t D1, const V* q2, int64_t D2, const KeyRows& k, const KeyRows& v, int64_t Dv,
                const std::vector<int64_t>& keys, float scale, V* out, std::vector<float>& scores, std::vector<float>& sum) {
  scores.resize(keys.size());
  float max = kMinusInfinity;
  for (size_t s = 0; s < keys.size(); ++s) {
    const V* key = reinterpret_cast<const V*>(k.Row(keys[s]));
    float dot = 0;
    for (int64_t d = 0; d < D1; ++d) dot += static_cast<float>(q1[d]) * static_cast<float>(key[d]);
    for (int64_t d = 0; d < D2; ++d) dot += static_cast<float>(q2[d]) * static_cast<float>(key[D1 + d]);
    scores[s] = dot * scale;
    max = std::max(max, scores[s]);
  }
  sum.assign(Dv, 0.0f);
  float total = 0;
  for (size_t s = 0; s < keys.size(); ++s) {
    const float p = std::exp(scores[s] - max);
    const V* value = reinterpret_cast<const V*>(v.Row(keys[s]));
    total += p;
    for (int64_t d = 0; d < Dv; ++d) sum[d] += p * static_cast<float>(value[d]);
  }
  for (int64_t d = 0; d < Dv; ++d) out[d] = static_cast<V>(keys.empty() ? 0.0f : sum[d] / total);
  return keys.empty() ? kMinusInfinity : max + std::log(total);
}

std::tuple<Tensor, Tensor> PackedAttentionForwardCpu(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& cu_q, const Tensor& cu_k,
                                                     double scale, int64_t window, const OptionalTensor& topk_idx) {
  const int64_t T = q.size(0), H = q.size(1), Dk = q.size(2), G = k.size(1), Dv = v.size(2), B = cu_q.size(0) - 1;
  Tensor out = at::empty({T, H, Dv}, q.options()), lse = at::empty({T, H}, q.options().dtype(at::kFloat));
  const int32_t *cq = cu_q.const_data_ptr<int32_t>(), *ck = cu_k.const_data_ptr<int32_t>();
  DispatchFloat(q.scalar_type(), [&](auto zero) {
    using V = decltype(zero);
    for (int64_t b = 0; b < B; ++b) {
      const int64_t n_q = cq[b + 1] - cq[b], n_k = ck[b + 1] - ck[b];
      at::parallel_for(0, n_q * H, 1, [&](int64_t begin, int64_t end) {
        std::vector<float> scores, sum;
        for (int64_t item = begin; item < end; ++item) {
          const int64_t i = item / H, h = item % H, g = h / (H / G), t = cq[b] + i;
          const KeyRows keys{.base = reinterpret_cast<const char*>(k.const_data_ptr<V>() + ck[b] * k.stride(0) + g * k.stride(1)),
                             .stride = k.stride(0) * static_cast<int64_t>(sizeof(V))};
          const KeyRows values{.base = reinterpret_cast<const char*>(v.const_data_ptr<V>() + ck[b] * v.stride(0) + g * v.stride(1)),
                               .stride = v.stride(0) * static_cast<int64_t>(sizeof(V))};
          const int64_t S = topk_idx ? topk_idx->size(1) : 0;
          const auto visible =
              VisibleList(VisibleRange(i, n_q, n_k, window), topk_idx ? topk_idx->const_data_ptr<int32_t>() + t * S : nullptr, S);
          lse.mutable_data_ptr<float>()[t * H + h] =
              AttendRow<V>(q.const_data_ptr<V>() + t * q.stride(0) + h * q.stride(1), Dk, nullptr, 0, keys, values, Dv, visible,
                           static_cast<float>(scale), out.mutable_data_ptr<V>() + (t * H + h) * Dv, scores, sum);
        }
      });
    }
  });
  return {out, lse};
}

Tensor PackedAttentionCpu(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& cu_q, const Tensor& cu_k, double scale, int64_t window,
                          const OptionalTensor& topk_idx) {
  return std::get<0>(PackedAttentionForwardCpu(q, k, v, cu_q, cu_k, scale, window, topk_idx));
}

Tensor PagedAttentionCpu(const Tensor& q, const Tensor& k_pages, const Tensor& v_pages, const Tensor& page_table, const Tensor& cu_q,
                         const Tensor& kv_lens, double scale, int64_t window) {
  const int64_t T = q.size(0), H = q.size(1), Dk = q.size(2), G = k_pages.size(2), Dv = v_pages.size(3), B = kv_lens.size(0);
  Tensor out = at::empty({T, H, Dv}, q.options());
  const int32_t *cq = cu_q.const_data_ptr<int32_t>(), *lens = kv_lens.const_data_ptr<int32_t>(), *table = page_table.const_data_ptr<int32_t>();
  DispatchFloat(q.scalar_type(), [&](auto zero) {
    using V = decltype(zero);
    constexpr int64_t kBytes = sizeof(V);
    for (int64_t b = 0; b < B; ++b) {
      const int64_t n_q = cq[b + 1] - cq[b], n_k = lens[b];
      at::parallel_for(0, n_q * H, 1, [&](int64_t begin, int64_t end) {
        std::vector<float> scores, sum;
        for (int64_t item = begin; item < end; ++item) {
          const int64_t i = item / H, h = item % H, g = h / (H / G), t = cq[b] + i;
          const auto rows = [&](const Tensor& pages) {
            return KeyRows{.base = reinterpret_cast<const char*>(pages.const_data_ptr<V>() + g * pages.stride(2)), .stride = pages.stride(1) * kBytes,
                           .page_table = table + b * page_table.size(1), .page_size = pages.size(1), .page_stride = pages.stride(0) * kBytes};
          };
          AttendRow<V>(q.const_data_ptr<V>() + t * q.stride(0) + h * q.stride(1), Dk, nullptr, 0, rows(k_pages), rows(v_pages), Dv,
                       VisibleList(VisibleRange(i, n_q, n_k, window), nullptr, 0), static_cast<float>(scale),
                       out.mutable_data_ptr<V>() + (t * H + h) * Dv, scores, sum);
        }
      });
    }
  });
  return out;
}

Tensor MlaPagedAttentionCpu(const Tensor& q_latent, const Tensor& q_rope, const Tensor& pages, const Tensor& page_table, const Tensor& cu_q,
                            const Tensor& kv_lens, double scale, const OptionalTensor& topk_idx) {
  const int64_t T = q_latent.size(0), H = q_latent.size(1), R = q_latent.size(2), Dr = q_rope.size(2), B = kv_lens.size(0);
  Tensor out = at::empty({T, H, R}, q_latent.options());
  const int32_t *cq = cu_q.const_data_ptr<int32_t>(), *lens = kv_lens.const_data_ptr<int32_t>(), *table = page_table.const_data_ptr<int32_t>();
  DispatchFloat(q_latent.scalar_type(), [&](auto zero) {
    using V = decltype(zero);
    constexpr int64_t kBytes = sizeof(V);
    for (int64_t b = 0; b < B; ++b) {
      const int64_t n_q = cq[b + 1] - cq[b], n_k = lens[b];
      at::parallel_for(0, n_q * H, 1, [&](int64_t begin, int64_t end) {
        std::vector<float> scores, sum;
        for (int64_t item = begin; item < end; ++item) {
          const int64_t i = item / H, h = item % H, t = cq[b] + i, S = topk_idx ? topk_idx->size(1) : 0;
          const KeyRows rows{.base = reinterpret_cast<const char*>(pages.const_data_ptr<V>()), .stride = pages.stride(1) * kBytes,
                             .page_table = table + b * page_table.size(1), .page_size = pages.size(1), .page_stride = pages.stride(0) * kBytes};
          const auto visible =
              VisibleList(VisibleRange(i, n_q, n_k, -1), topk_idx ? topk_idx->const_data_ptr<int32_t>() + t * S : nullptr, S);
          AttendRow<V>(q_latent.const_data_ptr<V>() + t * q_latent.stride(0) + h * q_latent.stride(1), R,
                       q_rope.const_data_ptr<V>() + t * q_rope.stride(0) + h * q_rope.stride(1), Dr, rows, rows, R, visible,
                       static_cast<float>(scale), out.mutable_data_ptr<V>() + (t * H + h) * R, scores, sum);
        }
      });
    }
  });
  return out;
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

TORCH_LIBRARY_IMPL(fathom, CPU, m) {
  m.impl("packed_attention", TORCH_FN(PackedAttentionCpu));
  m.impl("packed_attention_forward", TORCH_FN(PackedAttentionForwardCpu));
  m.impl("packed_attention_backward", TORCH_FN(PackedAttentionBackwardCpu));
  m.impl("paged_attention", TORCH_FN(PagedAttentionCpu));
  m.impl("mla_paged_attention", TORCH_FN(MlaPagedAttentionCpu));
}

}  // namespace fathom::ops
