#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "ops/attention/attend_tasks.h"
#include "ops/cpu/dtype.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

const char* Bytes(const Tensor& x) { return static_cast<const char*>(x.const_data_ptr()); }
int64_t StrideBytes(const Tensor& x, int64_t dim) { return x.stride(dim) * static_cast<int64_t>(x.element_size()); }

HeadRows Heads(const Tensor& q_THD) { return {.base = Bytes(q_THD), .t_stride = StrideBytes(q_THD, 0), .h_stride = StrideBytes(q_THD, 1)}; }

void SetTopk(const OptionalTensor& topk_idx, AttendProblem* problem) {
  if (!topk_idx) return;
  problem->topk = topk_idx->const_data_ptr<int32_t>();
  problem->topk_size = topk_idx->size(1);
}

void Packed(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& cu_q, const Tensor& cu_k, double scale, int64_t window,
            const OptionalTensor& topk_idx, const Tensor& out, float* lse) {
  AttendProblem problem{.dtype = q.scalar_type(), .q = Heads(q), .d1 = q.size(2), .dv = v.size(2), .num_heads = q.size(1),
                        .num_key_heads = k.size(1), .scale = static_cast<float>(scale), .window = window, .out = out.mutable_data_ptr(),
                        .lse = lse};
  SetTopk(topk_idx, &problem);
  const int32_t *cq = cu_q.const_data_ptr<int32_t>(), *ck = cu_k.const_data_ptr<int32_t>();
  for (int64_t b = 0; b + 1 < cu_q.size(0); ++b) {
    FATHOM_CHECK(cq[b] <= cq[b + 1] && cq[b + 1] <= q.size(0) && ck[b] <= ck[b + 1] && ck[b + 1] <= k.size(0) &&
                     cq[b + 1] - cq[b] <= ck[b + 1] - ck[b],
                 "packed_attention: sequence {} has queries {} .. {} of {} and keys {} .. {} of {}", b, cq[b], cq[b + 1], q.size(0), ck[b], ck[b + 1],
                 k.size(0));
    problem.sequences.push_back({.k = {.base = Bytes(k) + ck[b] * StrideBytes(k, 0), .stride = StrideBytes(k, 0)},
                                 .v = {.base = Bytes(v) + ck[b] * StrideBytes(v, 0), .stride = StrideBytes(v, 0)},
                                 .k_head_stride = StrideBytes(k, 1), .v_head_stride = StrideBytes(v, 1), .first_query = cq[b],
                                 .num_queries = cq[b + 1] - cq[b], .num_keys = ck[b + 1] - ck[b]});
  }
  Attend(problem);
}

std::tuple<Tensor, Tensor> PackedAttentionForwardCpu(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& cu_q, const Tensor& cu_k,
                                                     double scale, int64_t window, const OptionalTensor& topk_idx, int64_t /*max_len*/) {
  Tensor out = at::empty({q.size(0), q.size(1), v.size(2)}, q.options()), lse = at::empty({q.size(0), q.size(1)}, q.options().dtype(at::kFloat));
  Packed(q, k, v, cu_q, cu_k, scale, window, topk_idx, out, lse.mutable_data_ptr<float>());
  return {out, lse};
}

Tensor PackedAttentionCpu(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& cu_q, const Tensor& cu_k, double scale, int64_t window,
                          const OptionalTensor& topk_idx, int64_t /*max_len*/) {
  Tensor out = at::empty({q.size(0), q.size(1), v.size(2)}, q.options());
  Packed(q, k, v, cu_q, cu_k, scale, window, topk_idx, out, nullptr);
  return out;
}

KeyRows PageRows(const Tensor& pages, const Tensor& page_table, int64_t b) {
  return {.base = Bytes(pages), .stride = StrideBytes(pages, 1), .page_table = page_table.const_data_ptr<int32_t>() + b * page_table.size(1),
          .page_size = pages.size(1), .page_stride = StrideBytes(pages, 0)};
}

// Sequences over pages; a page id that is used must be one of the pages.
void AddPagedSequences(const char* op, const Tensor& k_pages, const Tensor& v_pages, const Tensor& page_table, const Tensor& cu_q,
                       const Tensor& kv_lens, int64_t num_tokens, AttendProblem* problem) {
  const int32_t *cq = cu_q.const_data_ptr<int32_t>(), *lens = kv_lens.const_data_ptr<int32_t>(), *table = page_table.const_data_ptr<int32_t>();
  const int64_t page = k_pages.size(1), max_pages = page_table.size(1);
  const bool has_heads = k_pages.dim() == 4;
  for (int64_t b = 0; b < kv_lens.size(0); ++b) {
    FATHOM_CHECK(cq[b] <= cq[b + 1] && cq[b + 1] <= num_tokens && cq[b + 1] - cq[b] <= lens[b] && lens[b] <= max_pages * page,
                 "{}: sequence {} has queries {} .. {} of {} and {} keys in at most {} pages of {}", op, b, cq[b], cq[b + 1], num_tokens, lens[b],
                 max_pages, page);
    for (int64_t i = 0; i * page < lens[b]; ++i) {
      FATHOM_CHECK(table[b * max_pages + i] >= 0 && table[b * max_pages + i] < k_pages.size(0), "{}: page {} of sequence {} is {} of {}", op, i, b,
                   table[b * max_pages + i], k_pages.size(0));
    }
    problem->sequences.push_back({.k = PageRows(k_pages, page_table, b), .v = PageRows(v_pages, page_table, b),
                                  .k_head_stride = has_heads ? StrideBytes(k_pages, 2) : 0, .v_head_stride = has_heads ? StrideBytes(v_pages, 2) : 0,
                                  .first_query = cq[b], .num_queries = cq[b + 1] - cq[b], .num_keys = lens[b]});
  }
}

Tensor PagedAttentionCpu(const Tensor& q, const Tensor& k_pages, const Tensor& v_pages, const Tensor& page_table, const Tensor& cu_q,
                         const Tensor& kv_lens, double scale, int64_t window) {
  Tensor out = at::empty({q.size(0), q.size(1), v_pages.size(3)}, q.options());
  AttendProblem problem{.dtype = q.scalar_type(), .q = Heads(q), .d1 = q.size(2), .dv = v_pages.size(3), .num_heads = q.size(1),
                        .num_key_heads = k_pages.size(2), .scale = static_cast<float>(scale), .window = window, .out = out.mutable_data_ptr()};
  AddPagedSequences("paged_attention", k_pages, v_pages, page_table, cu_q, kv_lens, q.size(0), &problem);
  Attend(problem);
  return out;
}

Tensor MlaPagedAttentionCpu(const Tensor& q_latent, const Tensor& q_rope, const Tensor& pages, const Tensor& page_table, const Tensor& cu_q,
                            const Tensor& kv_lens, double scale, const OptionalTensor& topk_idx) {
  Tensor out = at::empty(q_latent.sizes(), q_latent.options());
  AttendProblem problem{.dtype = q_latent.scalar_type(), .q = Heads(q_latent), .q2 = Heads(q_rope), .d1 = q_latent.size(2), .d2 = q_rope.size(2),
                        .dv = q_latent.size(2), .num_heads = q_latent.size(1), .num_key_heads = 1, .scale = static_cast<float>(scale),
                        .out = out.mutable_data_ptr()};
  SetTopk(topk_idx, &problem);
  AddPagedSequences("mla_paged_attention", pages, pages, page_table, cu_q, kv_lens, q_latent.size(0), &problem);
  Attend(problem);
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CPU, m) {
  m.impl("packed_attention", TORCH_FN(PackedAttentionCpu));
  m.impl("packed_attention_forward", TORCH_FN(PackedAttentionForwardCpu));
  m.impl("paged_attention", TORCH_FN(PagedAttentionCpu));
  m.impl("mla_paged_attention", TORCH_FN(MlaPagedAttentionCpu));
}

}  // namespace fathom::ops
