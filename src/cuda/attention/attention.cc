#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <optional>
#include <tuple>

#include "cuda/attention/attention_kernel.h"
#include "cuda/attention/choose_kernel.h"
#include "cuda/attention/cudnn_attention.h"
#include "cuda/attention/flash_backward.h"
#include "cuda/launch.h"
#include "ops/cache/expand_fp8_latents.h"

namespace fathom::cuda {
namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

constexpr int64_t kKeysATile = 64;

AttentionShape ShapeOf(const AttentionParams& params, bool is_aligned, bool has_topk) {
  return {.has_wgmma = HasWarpgroupProducts(),
          .is_16_bit = params.dtype != Dtype::kF32,
          .is_aligned = is_aligned,
          .has_topk = has_topk,
          .is_fp8 = params.is_fp8,
          .tokens = params.tokens,
          .batch = params.batch,
          .heads = params.heads,
          .kv_heads = params.kv_heads,
          .dk = params.dk,
          .dv = params.dv,
          .page_size = params.page_table == nullptr ? 0 : params.page_size,
          .max_keys = static_cast<int64_t>(params.max_pages) * params.page_size};
}

// True where the keys are done: Hopper's kernel takes the shape and has been launched. key_rows: packed rows, or pages.
bool TryFlashWgmma(AttentionParams& params, const AttentionShape& shape, int64_t key_rows, const Tensor& like) {
  if (ChooseAttention(shape) != AttentionKernel::kWgmma) return false;
  const Tensor counter = at::empty({1}, like.options().dtype(at::kInt));
  return LaunchFlashWgmma(params, key_rows, counter.mutable_data_ptr<int32_t>(), CurrentStream());
}

Tensor LastDimContiguous(const Tensor& x) { return x.stride(-1) == 1 ? x : x.contiguous(); }

void SetQueries(AttentionParams& params, const Tensor& q_THD) {
  params.q = q_THD.const_data_ptr();
  params.q_token_stride = q_THD.stride(0);
  params.q_head_stride = q_THD.stride(1);
  params.tokens = static_cast<int>(q_THD.size(0));
  params.heads = static_cast<int>(q_THD.size(1));
  params.dtype = DtypeOf(q_THD);
}

KeyLayout PackedLayout(const Tensor& x_SGD) { return {x_SGD.const_data_ptr(), 0, x_SGD.stride(0), x_SGD.stride(1)}; }

void SetPages(AttentionParams& params, const Tensor& page_table, const Tensor& cu_q, const Tensor& kv_lens, int64_t page_size) {
  params.cu_q = cu_q.const_data_ptr<int32_t>();
  params.kv_lens = kv_lens.const_data_ptr<int32_t>();
  params.page_table = page_table.const_data_ptr<int32_t>();
  params.max_pages = static_cast<int>(page_table.size(1));
  params.page_size = static_cast<int>(page_size);
  params.batch = static_cast<int>(kv_lens.size(0));
}

void SetTopk(AttentionParams& params, const OptionalTensor& topk_idx) {
  if (!topk_idx) return;
  params.topk_idx = topk_idx->const_data_ptr<int32_t>();
  params.topk = static_cast<int>(topk_idx->size(1));
}

// Scratch of a split attention; it lives until the launches are queued.
struct Splits {
  Tensor out, lse;
};
Splits SetSplits(AttentionParams& params, int64_t blocks, int64_t blocks_a_processor, const Tensor& like) {
  const int64_t key_tiles = (static_cast<int64_t>(params.max_pages) * params.page_size + kKeysATile - 1) / kKeysATile;
  params.num_splits = ChooseSplits(static_cast<int>(std::min<int64_t>(blocks, 1 << 24)), static_cast<int>(NumProcessors() * blocks_a_processor),
                                   static_cast<int>(key_tiles));
  Splits splits;
  if (params.num_splits == 1) return splits;
  const auto options = like.options().dtype(at::kFloat);
  splits.out = at::empty({params.num_splits, params.tokens, params.heads, params.dv}, options);
  splits.lse = at::empty({params.tokens, params.heads, params.num_splits}, options);
  params.partial_out = splits.out.mutable_data_ptr<float>();
  params.partial_lse = splits.lse.mutable_data_ptr<float>();
  return splits;
}

AttentionParams PackedParams(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& cu_q, const Tensor& cu_k, double scale, int64_t window,
                             const OptionalTensor& topk_idx) {
  AttentionParams params;
  SetQueries(params, q);
  params.k = PackedLayout(k);
  params.v = PackedLayout(v);
  params.cu_q = cu_q.const_data_ptr<int32_t>();
  params.cu_k = cu_k.const_data_ptr<int32_t>();
  params.batch = static_cast<int>(cu_q.size(0) - 1);
  params.kv_heads = static_cast<int>(k.size(1));
  params.dk = static_cast<int>(q.size(2));
  params.dv = static_cast<int>(v.size(2));
  params.scale = static_cast<float>(scale);
  params.window = static_cast<int>(window);
  SetTopk(params, topk_idx);
  TORCH_CHECK(params.dk <= kMaxPlainHeadDim && params.dv <= kMaxPlainHeadDim, "packed_attention on CUDA: head dims up to ", kMaxPlainHeadDim);
  return params;
}

std::tuple<Tensor, Tensor> PackedAttentionForward(const Tensor& q_THD, const Tensor& k_SGD, const Tensor& v_SGD, const Tensor& cu_q, const Tensor& cu_k,
                                                  double scale, int64_t window, const OptionalTensor& topk_idx, int64_t max_len) {
  const c10::cuda::CUDAGuard guard(q_THD.device());
  const Tensor q = LastDimContiguous(q_THD), k = LastDimContiguous(k_SGD), v = LastDimContiguous(v_SGD);
  if (CudnnAttentionTakes(q, k, v, cu_q, window, topk_idx, max_len)) return CudnnAttentionForward(q, k, v, cu_q, scale, max_len);
  Tensor out = at::empty({q.size(0), q.size(1), v.size(2)}, q.options());
  Tensor lse = at::empty({q.size(0), q.size(1)}, q.options().dtype(at::kFloat));
  if (q.size(0) == 0) return {out, lse};
  AttentionParams params = PackedParams(q, k, v, cu_q, cu_k, scale, window, topk_idx);
  params.out = out.mutable_data_ptr();
  params.lse = lse.mutable_data_ptr<float>();
  const AttentionShape shape = ShapeOf(params, HasAlignedRows(q) && HasAlignedRows(k) && HasAlignedRows(v), topk_idx.has_value());
  if (TryFlashWgmma(params, shape, k.size(0), q)) {
  } else if (ChooseAttention(shape) == AttentionKernel::kPlain) {
    LaunchPlainAttention(params, CurrentStream());
  } else {
    LaunchFlashAttention(params, CurrentStream());
  }
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {out, lse};
}

Tensor PackedAttention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& cu_q, const Tensor& cu_k, double scale, int64_t window,
                       const OptionalTensor& topk_idx, int64_t max_len) {
  return std::get<0>(PackedAttentionForward(q, k, v, cu_q, cu_k, scale, window, topk_idx, max_len));
}

std::tuple<Tensor, Tensor, Tensor> PackedAttentionBackward(const Tensor& dout_THD, const Tensor& q_THD, const Tensor& k_SGD, const Tensor& v_SGD,
                                                           const Tensor& out_THD, const Tensor& lse_TH, const Tensor& cu_q, const Tensor& cu_k,
                                                           double scale, int64_t window, const OptionalTensor& topk_idx, int64_t max_len) {
  const c10::cuda::CUDAGuard guard(q_THD.device());
  const Tensor q = LastDimContiguous(q_THD), k = LastDimContiguous(k_SGD), v = LastDimContiguous(v_SGD);
  if (CudnnAttentionTakes(q, k, v, cu_q, window, topk_idx, max_len)) {
    return CudnnAttentionBackward(dout_THD.contiguous(), q, k, v, out_THD.contiguous(), lse_TH, cu_q, scale, max_len);
  }
  if (FlashBackwardTakes(q, k, v, cu_q, window, topk_idx, max_len)) {
    return FlashBackward(dout_THD.contiguous(), q, k, v, out_THD.contiguous(), lse_TH, cu_q, scale, max_len);
  }
  const Tensor dout = dout_THD.contiguous(), out = out_THD.contiguous(), lse = lse_TH.contiguous();
  Tensor dq = at::empty(q.sizes(), q.options()), dk = at::empty(k.sizes(), k.options()), dv = at::empty(v.sizes(), v.options());
  Tensor delta = at::empty(lse.sizes(), lse.options());
  AttentionBackwardParams backward;
  backward.forward = PackedParams(q, k, v, cu_q, cu_k, scale, window, topk_idx);
  backward.forward.out = out.data_ptr();
  backward.forward.lse = lse.data_ptr<float>();
  backward.dout = dout.const_data_ptr();
  backward.delta = delta.mutable_data_ptr<float>();
  backward.dq = dq.mutable_data_ptr();
  backward.dk = dk.mutable_data_ptr();
  backward.dv = dv.mutable_data_ptr();
  backward.keys = static_cast<int>(k.size(0));
  LaunchPlainAttentionBackward(backward, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {dq, dk, dv};
}

KeyLayout PagedLayout(const Tensor& pages) { return {pages.const_data_ptr(), pages.stride(0), pages.stride(1), pages.dim() == 4 ? pages.stride(2) : 0}; }

Tensor PagedAttention(const Tensor& q_THD, const Tensor& k_pages, const Tensor& v_pages, const Tensor& page_table, const Tensor& cu_q,
                      const Tensor& kv_lens, double scale, int64_t window) {
  const c10::cuda::CUDAGuard guard(q_THD.device());
  const Tensor q = LastDimContiguous(q_THD);
  Tensor out = at::empty({q.size(0), q.size(1), v_pages.size(3)}, q.options());
  if (q.size(0) == 0) return out;
  AttentionParams params;
  SetQueries(params, q);
  params.k = PagedLayout(k_pages);
  params.v = PagedLayout(v_pages);
  SetPages(params, page_table, cu_q, kv_lens, k_pages.size(1));
  params.kv_heads = static_cast<int>(k_pages.size(2));
  params.dk = static_cast<int>(k_pages.size(3));
  params.dv = static_cast<int>(v_pages.size(3));
  params.scale = static_cast<float>(scale);
  params.window = static_cast<int>(window);
  params.out = out.mutable_data_ptr();
  TORCH_CHECK(params.dk <= kMaxPlainHeadDim && params.dv <= kMaxPlainHeadDim, "paged_attention on CUDA: head dims up to ", kMaxPlainHeadDim);
  const AttentionShape shape = ShapeOf(params, HasAlignedRows(q) && HasAlignedRows(k_pages) && HasAlignedRows(v_pages), false);
  if (TryFlashWgmma(params, shape, k_pages.size(0), q)) {
  } else if (ChooseAttention(shape) == AttentionKernel::kPlain) {
    LaunchPlainAttention(params, CurrentStream());
  } else {
    const int64_t group = params.heads / params.kv_heads;
    const int64_t blocks = (params.tokens * group / 64 + params.batch) * params.kv_heads;
    const Splits splits = SetSplits(params, blocks, 2, q);
    LaunchFlashAttention(params, CurrentStream());
    if (params.num_splits > 1) LaunchCombineSplits(params, CurrentStream());
  }
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

Tensor MlaPagedAttention(const Tensor& q_latent_THR, const Tensor& q_rope_THD, const Tensor& pages, const Tensor& page_table, const Tensor& cu_q,
                         const Tensor& kv_lens, double scale, const OptionalTensor& topk_idx) {
  const c10::cuda::CUDAGuard guard(q_latent_THR.device());
  const Tensor q_latent = LastDimContiguous(q_latent_THR), q_rope = LastDimContiguous(q_rope_THD);
  const int64_t latent = q_latent.size(2), rope = q_rope.size(2);
  const bool is_fp8 = pages.scalar_type() == at::kByte;
  Tensor out = at::empty(q_latent.sizes(), q_latent.options());
  if (q_latent.size(0) == 0) return out;
  AttentionParams params;
  params.k = PagedLayout(pages);
  params.v = params.k;
  params.is_fp8 = is_fp8;
  SetPages(params, page_table, cu_q, kv_lens, pages.size(1));
  params.dk = static_cast<int>(latent + rope);
  params.dv = static_cast<int>(latent);
  params.scale = static_cast<float>(scale);
  params.out = out.mutable_data_ptr();
  SetQueries(params, q_latent);
  const AttentionShape shape = ShapeOf(params, HasAlignedRows(q_latent) && HasAlignedRows(q_rope) && (is_fp8 || HasAlignedRows(pages)), topk_idx.has_value());
  const AttentionKernel kernel = ChooseMlaAttention(shape);
  if (is_fp8 && (kernel != AttentionKernel::kWgmma || params.dtype != Dtype::kBf16 || !pages.is_contiguous())) {
    const auto [expanded, table] = ops::ExpandFp8Pages(pages, page_table, latent, q_latent.scalar_type());
    return MlaPagedAttention(q_latent, q_rope, expanded, table, cu_q, kv_lens, scale, topk_idx);
  }
  if (kernel != AttentionKernel::kPlain) {
    params.q_rope = q_rope.const_data_ptr();
    params.q_rope_token_stride = q_rope.stride(0);
    params.q_rope_head_stride = q_rope.stride(1);
    const int64_t mma_blocks = static_cast<int64_t>(params.tokens) * MlaRowTiles(params.heads);
    const bool is_wgmma = kernel == AttentionKernel::kWgmma;
    const Splits splits = SetSplits(params, is_wgmma ? LikelyMlaWgmmaTiles(params.tokens, params.heads, params.batch) : mma_blocks, 1, q_latent);
    const bool is_launched = is_wgmma && LaunchMlaWgmma(params, pages.size(0), CurrentStream());
    TORCH_CHECK(is_launched || !is_fp8, "mla_paged_attention on CUDA: no tensor map of an FP8 cache of ", pages.size(0), " pages");
    if (!is_launched) LaunchMlaDecode(params, CurrentStream());
    if (params.num_splits > 1) LaunchCombineSplits(params, CurrentStream());
  } else {
    const Tensor q = at::cat({q_latent, q_rope}, 2);
    SetQueries(params, q);
    SetTopk(params, topk_idx);
    TORCH_CHECK(params.dk <= kMaxPlainHeadDim, "mla_paged_attention on CUDA: kv_lora_rank + rope up to ", kMaxPlainHeadDim);
    LaunchPlainAttention(params, CurrentStream());
  }
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CUDA, m) {
  m.impl("packed_attention", TORCH_FN(PackedAttention));
  m.impl("packed_attention_forward", TORCH_FN(PackedAttentionForward));
  m.impl("packed_attention_backward", TORCH_FN(PackedAttentionBackward));
  m.impl("paged_attention", TORCH_FN(PagedAttention));
  m.impl("mla_paged_attention", TORCH_FN(MlaPagedAttention));
}

}  // namespace fathom::cuda
