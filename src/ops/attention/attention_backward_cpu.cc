// With P = exp(scale S - lse): dV = P^T dO, dS = P (dO V^T - rowsum(dO O)), dQ = scale dS K, dK = scale dS^T Q.
// One task a sequence and key head, so that no sum depends on the number of threads; memory is O(T).
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/attention/visible_keys.h"
#include "ops/cpu/dtype.h"
#include "ops/cpu/kernel_table.h"
#include "ops/cpu/parallel_rows.h"
#include "ops/cpu/scratch.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

struct Problem {
  const Tensor &dout, &q, &k, &v, &out, &lse, &cu_q, &cu_k;
  float scale;
  int64_t window;
  const OptionalTensor& topk_idx;
  Tensor &dq, &dk, &dv;
};

// One sequence and key head, on values of type V.
template <typename V>
class Backward {
 public:
  Backward(const Problem& problem, int64_t b, int64_t g)
      : p_(problem), g_(g), heads_(p_.q.size(1) / p_.k.size(1)), H_(p_.q.size(1)), dk_(p_.q.size(2)), dv_(p_.v.size(2)),
        dk_width_(PaddedWidth(dk_)), dv_width_(PaddedWidth(dv_)), q0_(p_.cu_q.template const_data_ptr<int32_t>()[b]),
        k0_(p_.cu_k.template const_data_ptr<int32_t>()[b]), n_q_(p_.cu_q.template const_data_ptr<int32_t>()[b + 1] - q0_),
        n_k_(p_.cu_k.template const_data_ptr<int32_t>()[b + 1] - k0_), dq_sum_(n_q_ * heads_ * dk_width_), dk_sum_(n_k_ * dk_width_),
        dv_sum_(n_k_ * dv_width_) {}

  void Run() {
    const auto dot = Kernels().dot_in_order[KernelDtypeOf(p_.q.scalar_type())];
    for (int64_t i = 0; i < n_q_; ++i) {
      for (int64_t h = 0; h < heads_; ++h) {
        delta_.push_back(dot(DoutRow(i, h), p_.out.template const_data_ptr<V>() + OutRow(i, h) * dv_, dv_));
      }
    }
    if (p_.topk_idx) {
      for (int64_t i = 0; i < n_q_; ++i) ListedQuery(i);
    } else {
      for (int64_t first = 0; first < n_k_; first += kAttendBlockKeys) KeyBlock(first);
    }
    Write();
  }

 private:
  const V* QRow(int64_t i, int64_t h) const { return p_.q.template const_data_ptr<V>() + (q0_ + i) * p_.q.stride(0) + Head(h) * p_.q.stride(1); }
  const V* KRow(int64_t j) const { return p_.k.template const_data_ptr<V>() + (k0_ + j) * p_.k.stride(0) + g_ * p_.k.stride(1); }
  const V* VRow(int64_t j) const { return p_.v.template const_data_ptr<V>() + (k0_ + j) * p_.v.stride(0) + g_ * p_.v.stride(1); }
  const V* DoutRow(int64_t i, int64_t h) const { return p_.dout.template const_data_ptr<V>() + OutRow(i, h) * dv_; }
  int64_t Head(int64_t h) const { return g_ * heads_ + h; }
  int64_t OutRow(int64_t i, int64_t h) const { return (q0_ + i) * H_ + Head(h); }
  float Lse(int64_t i, int64_t h) const { return p_.lse.template const_data_ptr<float>()[OutRow(i, h)]; }

  void KeyBlock(int64_t first) {
    const int64_t n = std::min(kAttendBlockKeys, n_k_ - first);
    std::vector<const void*> k_rows, v_rows;
    for (int64_t j = first; j < first + n; ++j) {
      k_rows.push_back(KRow(j));
      v_rows.push_back(VRow(j));
    }
    const int64_t query_block = std::max<int64_t>(1, kAttendMaxRows / heads_);
    for (int64_t i = 0; i < n_q_; i += query_block) {
      const int64_t last = std::min(n_q_, i + query_block) - 1;
      if (VisibleRange(last, n_q_, n_k_, p_.window).end <= first || VisibleRange(i, n_q_, n_k_, p_.window).begin >= first + n) continue;
      for (int64_t h = 0; h < heads_; h += kAttendMaxRows) RowBlock(i, last + 1, h, std::min(heads_, h + kAttendMaxRows), first, k_rows, v_rows);
    }
  }

  void RowBlock(int64_t i_begin, int64_t i_end, int64_t h_begin, int64_t h_end, int64_t first_key, const std::vector<const void*>& k_rows,
                const std::vector<const void*>& v_rows) {
    static thread_local ScratchMemory scratch;
    std::vector<const void*> q_rows, dout_rows;
    std::vector<int32_t> row_begin, row_end;
    std::vector<float> lse, delta;
    for (int64_t i = i_begin; i < i_end; ++i) {
      const KeyRange range = VisibleRange(i, n_q_, n_k_, p_.window);
      for (int64_t h = h_begin; h < h_end; ++h) {
        q_rows.push_back(QRow(i, h));
        dout_rows.push_back(DoutRow(i, h));
        row_begin.push_back(static_cast<int32_t>(range.begin));
        row_end.push_back(static_cast<int32_t>(range.end));
        lse.push_back(Lse(i, h));
        delta.push_back(delta_[i * heads_ + h]);
      }
    }
    const auto rows = static_cast<int64_t>(q_rows.size());
    Kernels().attend_backward[KernelDtypeOf(p_.q.scalar_type())](
        {.q_rows = q_rows.data(), .dout_rows = dout_rows.data(), .k_rows = k_rows.data(), .v_rows = v_rows.data(), .num_rows = rows,
         .num_keys = static_cast<int64_t>(k_rows.size()), .first_key = first_key, .dk = dk_, .dv = dv_, .row_begin = row_begin.data(),
         .row_end = row_end.data(), .lse = lse.data(), .delta = delta.data(), .scale = p_.scale,
         .dq_sum = dq_sum_.data() + (i_begin * heads_ + h_begin) * dk_width_, .dk_sum = dk_sum_.data() + first_key * dk_width_,
         .dv_sum = dv_sum_.data() + first_key * dv_width_, .scratch = scratch.Reserve(AttendBackwardScratchBytes(rows, dk_, dv_))});
  }

  // A query with a list of keys: one key at a time.
  void ListedQuery(int64_t i) {
    const KeyRange range = VisibleRange(i, n_q_, n_k_, p_.window);
    const int64_t S = p_.topk_idx->size(1);
    const int32_t* list = p_.topk_idx->template const_data_ptr<int32_t>() + (q0_ + i) * S;
    for (int64_t h = 0; h < heads_; ++h) {
      const float lse = Lse(i, h), delta = delta_[i * heads_ + h];
      const V *q = QRow(i, h), *dout = DoutRow(i, h);
      float* dq = dq_sum_.data() + (i * heads_ + h) * dk_width_;
      for (int64_t s = 0; s < S; ++s) {
        if (list[s] < range.begin || list[s] >= range.end) continue;
        const V *k = KRow(list[s]), *v = VRow(list[s]);
        float *dk = dk_sum_.data() + list[s] * dk_width_, *dv = dv_sum_.data() + list[s] * dv_width_, dot = 0, dp = 0;
        for (int64_t d = 0; d < dk_; ++d) dot += static_cast<float>(q[d]) * static_cast<float>(k[d]);
        for (int64_t d = 0; d < dv_; ++d) dp += static_cast<float>(dout[d]) * static_cast<float>(v[d]);
        const float probability = std::exp(p_.scale * dot - lse), ds = p_.scale * probability * (dp - delta);
        for (int64_t d = 0; d < dv_; ++d) dv[d] += probability * static_cast<float>(dout[d]);
        for (int64_t d = 0; d < dk_; ++d) {
          dq[d] += ds * static_cast<float>(k[d]);
          dk[d] += ds * static_cast<float>(q[d]);
        }
      }
    }
  }

  static void Round(const float* sums, int64_t n, V* out) {
    for (int64_t d = 0; d < n; ++d) out[d] = static_cast<V>(sums[d]);
  }

  void Write() const {
    const int64_t G = p_.k.size(1);
    for (int64_t i = 0; i < n_q_; ++i) {
      for (int64_t h = 0; h < heads_; ++h) {
        Round(dq_sum_.data() + (i * heads_ + h) * dk_width_, dk_, p_.dq.template mutable_data_ptr<V>() + OutRow(i, h) * dk_);
      }
    }
    for (int64_t j = 0; j < n_k_; ++j) {
      Round(dk_sum_.data() + j * dk_width_, dk_, p_.dk.template mutable_data_ptr<V>() + ((k0_ + j) * G + g_) * dk_);
      Round(dv_sum_.data() + j * dv_width_, dv_, p_.dv.template mutable_data_ptr<V>() + ((k0_ + j) * G + g_) * dv_);
    }
  }

  const Problem& p_;
  const int64_t g_, heads_, H_, dk_, dv_, dk_width_, dv_width_, q0_, k0_, n_q_, n_k_;
  std::vector<float> dq_sum_, dk_sum_, dv_sum_;
  std::vector<float> delta_;  // [n_q, heads]: rowsum(dO O)
};

std::tuple<Tensor, Tensor, Tensor> PackedAttentionBackwardCpu(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
                                                              const Tensor& out, const Tensor& lse, const Tensor& cu_q, const Tensor& cu_k,
                                                              double scale, int64_t window, const OptionalTensor& topk_idx, int64_t /*max_len*/) {
  Tensor dq = at::zeros(q.sizes(), q.options()), dk = at::zeros(k.sizes(), k.options()), dv = at::zeros(v.sizes(), v.options());
  const Tensor grad = dout.contiguous();
  const Problem problem{grad, q, k, v, out, lse, cu_q, cu_k, static_cast<float>(scale), window, topk_idx, dq, dk, dv};
  const int64_t G = k.size(1);
  DispatchFloat(q.scalar_type(), [&](auto zero) {
    ParallelTasks((cu_q.size(0) - 1) * G, [&](int64_t task) { Backward<decltype(zero)>(problem, task / G, task % G).Run(); });
  });
  return {dq, dk, dv};
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CPU, m) { m.impl("packed_attention_backward", TORCH_FN(PackedAttentionBackwardCpu)); }

}  // namespace fathom::ops
