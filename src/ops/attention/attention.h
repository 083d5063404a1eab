// Softmax attention on packed tokens, with or without a paged cache of keys and values.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace fathom::ops {

// Packed causal attention (FlashAttention's online softmax, Dao 2023, arXiv 2307.08691), O(T) memory, with backward.
//   out[t, h] = sum_s softmax_s(scale * q[t, h] . k[s, g(h)]) v[s, g(h)],   g(h) = h / (H / G)
// q [Tq, H, Dk], k [Tk, G, Dk], v [Tk, G, Dv]; Dk and Dv are free (MLA: 192 and 128); last dim contiguous, other strides free.
// cu_q, cu_k [B+1] int32 on the tensors' device: sequence b is rows cu[b] .. cu[b+1]. Its queries are the last ones of its keys: query i
// of n_q sees keys j with j <= i + n_k - n_q (n_k >= n_q), and with window >= 0 only j > i + n_k - n_q - window.
// topk_idx [Tq, S] int32 or none: query t sees only the keys listed (index within its sequence; -1 = none), causality applied too
// (DeepSeek-V3.2's sparse attention). A query that sees no key gives 0.
// max_len > 0 is a promise of the host, which knows the batch: cu_q = cu_k, and no sequence has more tokens (a library's kernel may then be taken).
// dtypes: f32, bf16, f16; float32 accumulation; out [Tq, H, Dv] has q's dtype.
at::Tensor packed_attention(const at::Tensor& q_THD, const at::Tensor& k_SGD, const at::Tensor& v_SGD, const at::Tensor& cu_q,
                            const at::Tensor& cu_k, double scale, int64_t window, const std::optional<at::Tensor>& topk_idx, int64_t max_len = 0);

// Attention over a paged cache; queries may be several a sequence (chunked prefill, speculation). Inference only (Autograd throws).
// q [T, H, Dk]; k_pages [P, page, G, Dk], v_pages [P, page, G, Dv]; page_table [B, max_pages] int32: page i of sequence b holds its
// positions i*page .. (i+1)*page - 1; cu_q [B+1] int32; kv_lens [B] int32: keys of each sequence, the queries' own included (they are the last
// n_q of them). Entries of page_table past ceil(kv_len / page), and rows of a page past kv_len, are never read (they may be NaN).
at::Tensor paged_attention(const at::Tensor& q_THD, const at::Tensor& k_pages, const at::Tensor& v_pages, const at::Tensor& page_table,
                           const at::Tensor& cu_q, const at::Tensor& kv_lens, double scale, int64_t window);

// MLA's absorbed attention over the latent cache (DeepSeek-V2, arXiv 2405.04434, section 2.1): one shared "key/value head".
//   out[t, h] = sum_s softmax_s(scale * (q_latent[t, h] . c[s] + q_rope[t, h] . r[s])) c[s]
// q_latent [T, H, R], q_rope [T, H, Dr]; pages [P, page, R + Dr] (c then r); the rest as paged_attention; topk_idx [T, S] as packed_attention.
// out [T, H, R] in q's dtype. Pages of uint8 [P, page, Fp8LatentBytes(R, Dr)] are the FP8 cache of ops/cache/fp8_latents.h, widened to q's dtype as they
// are read (queries of any float dtype).
at::Tensor mla_paged_attention(const at::Tensor& q_latent_THR, const at::Tensor& q_rope_THD, const at::Tensor& pages, const at::Tensor& page_table,
                               const at::Tensor& cu_q, const at::Tensor& kv_lens, double scale, const std::optional<at::Tensor>& topk_idx);

}  // namespace fathom::ops
