#include "ops/attention/attention.h"

#include "ops/cache/expand_fp8_latents.h"
#include "ops/cpu/dtype.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

void CheckIndex(const char* op, const char* name, const Tensor& index, int64_t dims) {
  FATHOM_CHECK(index.dim() == dims && index.scalar_type() == at::kInt, "{}: {} must be int32 with {} dims, got {} dims of {}", op, name, dims,
               index.dim(), c10::toString(index.scalar_type()));
}

void CheckQueries(const char* op, const Tensor& q, const Tensor& other) {
  FATHOM_CHECK(q.dim() == 3 && IsFloatDtype(q.scalar_type()), "{}: queries must be [T, H, D] of a float dtype, got {} dims of {}", op, q.dim(),
               c10::toString(q.scalar_type()));
  FATHOM_CHECK(q.scalar_type() == other.scalar_type(), "{}: queries are {}, keys are {}; they must be one dtype", op,
               c10::toString(q.scalar_type()), c10::toString(other.scalar_type()));
}

void CheckHeads(const char* op, int64_t H, int64_t G) {
  FATHOM_CHECK(G > 0 && H % G == 0, "{}: {} query heads must be a multiple of {} key heads", op, H, G);
}

OptionalTensor CheckTopk(const char* op, const OptionalTensor& topk_idx, int64_t T) {
  if (!topk_idx) return topk_idx;
  CheckIndex(op, "topk_idx", *topk_idx, 2);
  FATHOM_CHECK(topk_idx->size(0) == T, "{}: topk_idx must have {} rows, got {}", op, T, topk_idx->size(0));
  return topk_idx->contiguous();
}

void CheckPages(const char* op, const Tensor& page_table, const Tensor& cu_q, const Tensor& kv_lens) {
  CheckIndex(op, "page_table", page_table, 2);
  CheckIndex(op, "cu_q", cu_q, 1);
  CheckIndex(op, "kv_lens", kv_lens, 1);
  FATHOM_CHECK(cu_q.size(0) == kv_lens.size(0) + 1 && page_table.size(0) == kv_lens.size(0),
               "{}: {} sequences, but cu_q has {} values and page_table {} rows", op, kv_lens.size(0), cu_q.size(0), page_table.size(0));
}

Tensor LastDimContiguous(const Tensor& x) { return x.stride(-1) == 1 ? x : x.contiguous(); }

}  // namespace

Tensor packed_attention(const Tensor& q_THD, const Tensor& k_SGD, const Tensor& v_SGD, const Tensor& cu_q, const Tensor& cu_k, double scale,
                        int64_t window, const std::optional<Tensor>& topk_idx, int64_t max_len) {
  constexpr const char* kOp = "packed_attention";
  CheckQueries(kOp, q_THD, k_SGD);
  FATHOM_CHECK(k_SGD.dim() == 3 && v_SGD.dim() == 3 && k_SGD.size(0) == v_SGD.size(0) && k_SGD.size(1) == v_SGD.size(1) &&
                   k_SGD.size(2) == q_THD.size(2) && v_SGD.scalar_type() == k_SGD.scalar_type(),
               "packed_attention: k must be [S, G, Dk] and v [S, G, Dv] of one dtype, with the queries' Dk = {}", q_THD.size(2));
  CheckHeads(kOp, q_THD.size(1), k_SGD.size(1));
  CheckIndex(kOp, "cu_q", cu_q, 1);
  CheckIndex(kOp, "cu_k", cu_k, 1);
  FATHOM_CHECK(cu_q.size(0) == cu_k.size(0) && cu_q.size(0) >= 1, "packed_attention: cu_q has {} values, cu_k {}; both are [B + 1]", cu_q.size(0),
               cu_k.size(0));
  return PackedAttentionOp::Call(LastDimContiguous(q_THD), LastDimContiguous(k_SGD), LastDimContiguous(v_SGD), cu_q.contiguous(),
                                 cu_k.contiguous(), scale, window, CheckTopk(kOp, topk_idx, q_THD.size(0)), max_len);
}

Tensor paged_attention(const Tensor& q_THD, const Tensor& k_pages, const Tensor& v_pages, const Tensor& page_table, const Tensor& cu_q,
                       const Tensor& kv_lens, double scale, int64_t window) {
  constexpr const char* kOp = "paged_attention";
  CheckQueries(kOp, q_THD, k_pages);
  FATHOM_CHECK(k_pages.dim() == 4 && v_pages.dim() == 4 && k_pages.size(0) == v_pages.size(0) && k_pages.size(1) == v_pages.size(1) &&
                   k_pages.size(2) == v_pages.size(2) && k_pages.size(3) == q_THD.size(2) && v_pages.scalar_type() == k_pages.scalar_type(),
               "paged_attention: k_pages must be [P, page, G, Dk] and v_pages [P, page, G, Dv] of one dtype, with the queries' Dk = {}",
               q_THD.size(2));
  CheckHeads(kOp, q_THD.size(1), k_pages.size(2));
  CheckPages(kOp, page_table, cu_q, kv_lens);
  FATHOM_CHECK(k_pages.stride(3) == 1 && v_pages.stride(3) == 1, "paged_attention: the pages' last dimension must be contiguous");
  return PagedAttentionOp::Call(LastDimContiguous(q_THD), k_pages, v_pages, page_table.contiguous(), cu_q.contiguous(), kv_lens.contiguous(),
                                scale, window);
}

Tensor mla_paged_attention(const Tensor& q_latent_THR, const Tensor& q_rope_THD, const Tensor& pages, const Tensor& page_table,
                           const Tensor& cu_q, const Tensor& kv_lens, double scale, const std::optional<Tensor>& topk_idx) {
  constexpr const char* kOp = "mla_paged_attention";
  const bool is_fp8 = pages.scalar_type() == at::kByte;
  CheckQueries(kOp, q_latent_THR, is_fp8 ? q_rope_THD : pages);
  CheckQueries(kOp, q_rope_THD, is_fp8 ? q_latent_THR : pages);
  FATHOM_CHECK(q_latent_THR.size(0) == q_rope_THD.size(0) && q_latent_THR.size(1) == q_rope_THD.size(1),
               "mla_paged_attention: q_latent and q_rope must agree in tokens and heads");
  const int64_t R = q_latent_THR.size(2), width = is_fp8 ? Fp8LatentBytes(R, q_rope_THD.size(2)) : R + q_rope_THD.size(2);
  FATHOM_CHECK(pages.dim() == 3 && pages.stride(2) == 1 && pages.size(2) == width && (!is_fp8 || R % kFp8LatentGroup == 0),
               "mla_paged_attention: pages must be [P, page, {}]", width);
  CheckPages(kOp, page_table, cu_q, kv_lens);
  if (is_fp8 && pages.is_cpu()) {
    const auto [expanded, table] = ExpandFp8Pages(pages, page_table, R, q_latent_THR.scalar_type());
    return mla_paged_attention(q_latent_THR, q_rope_THD, expanded, table, cu_q, kv_lens, scale, topk_idx);
  }
  return MlaPagedAttentionOp::Call(LastDimContiguous(q_latent_THR), LastDimContiguous(q_rope_THD), pages, page_table.contiguous(),
                                   cu_q.contiguous(), kv_lens.contiguous(), scale, CheckTopk(kOp, topk_idx, q_latent_THR.size(0)));
}

}  // namespace fathom::ops
