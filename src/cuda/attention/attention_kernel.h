#pragma once

#include "cuda/dtype.h"

namespace fathom::cuda {

// Rows of keys or values: row j of sequence b and key head g is at
//   packed:  base + (first_b + j) * row_stride + g * head_stride
//   paged:   base + page_table[b][j / page_size] * page_stride + (j % page_size) * row_stride + g * head_stride     (in values)
struct KeyLayout {
  const void* base = nullptr;
  int64_t page_stride = 0, row_stride = 0, head_stride = 0;
};

// ops/attention/attention.h on raw pointers, packed (cu_k) or paged (page_table, kv_lens). out [tokens, heads, dv] and lse [tokens, heads]
// (natural logarithm; may be null) are packed.
struct AttentionParams {
  const void* q = nullptr;
  int64_t q_token_stride = 0, q_head_stride = 0;
  const void* q_rope = nullptr;  // MLA's kernel: q is the latent part alone
  int64_t q_rope_token_stride = 0, q_rope_head_stride = 0;
  KeyLayout k, v;
  const int32_t* cu_q = nullptr;
  const int32_t* cu_k = nullptr;
  const int32_t* kv_lens = nullptr;
  const int32_t* page_table = nullptr;
  int max_pages = 0, page_size = 1;
  const int32_t* topk_idx = nullptr;  // [tokens, topk]
  int topk = 0;
  int batch = 0, tokens = 0, heads = 0, kv_heads = 1, dk = 0, dv = 0;
  float scale = 1;
  int window = -1;
  void* out = nullptr;
  float* lse = nullptr;
  Dtype dtype = Dtype::kF32;
  bool is_fp8 = false;  // MLA on Hopper, bf16 queries: pages of ops/cache/fp8_latents.h; strides in bytes
  // The keys of a query are cut into num_splits parts; with more than one, part s leaves its own softmax's result in
  // partial_out [num_splits, tokens, heads, dv] and its base-2 logsumexp in partial_lse [tokens, heads, num_splits].
  int num_splits = 1;
  float* partial_out = nullptr;
  float* partial_lse = nullptr;
};

// Any shape and dtype (dk, dv <= kMaxPlainHeadDim), a warp a query and head.
inline constexpr int kMaxPlainHeadDim = 1024;
void LaunchPlainAttention(const AttentionParams& params, cudaStream_t stream);

struct AttentionBackwardParams {
  AttentionParams forward;     // out and lse are inputs
  const void* dout = nullptr;  // [tokens, heads, dv]
  float* delta = nullptr;      // [tokens, heads] scratch
  void* dq = nullptr;          // [tokens, heads, dk]
  void* dk = nullptr;          // [keys, kv_heads, dk]
  void* dv = nullptr;          // [keys, kv_heads, dv]
  int keys = 0;
};
void LaunchPlainAttentionBackward(const AttentionBackwardParams& params, cudaStream_t stream);

// On tensor cores: 16-bit dtypes, (dk, dv) as FlashHeads (choose_kernel.h) says, no topk_idx, rows of q, k and v 16-byte aligned.
void LaunchFlashBf16(const AttentionParams& params, cudaStream_t stream);
void LaunchFlashF16(const AttentionParams& params, cudaStream_t stream);
inline void LaunchFlashAttention(const AttentionParams& params, cudaStream_t stream) {
  params.dtype == Dtype::kBf16 ? LaunchFlashBf16(params, stream) : LaunchFlashF16(params, stream);
}

// MLA's absorbed decode on tensor cores: 16-bit dtypes, R = 512, rope 64 (k holds both, v is its first R values), rows 16-byte aligned,
// no topk_idx. A block reads each latent once for up to 64 heads.
inline constexpr int kMlaLatent = 512, kMlaRope = 64;
void LaunchMlaDecode(const AttentionParams& params, cudaStream_t stream);
int MlaRowTiles(int heads);  // blocks a token

// The same on Hopper's warpgroup products (compute capability 9.0): a block takes 64 rows, row r of a sequence being query r / heads, head r % heads, and
// reads each latent once for all of them. page_size a multiple of 64. False, and nothing launched, where no tensor map can be made of the pages.
bool LaunchMlaWgmma(const AttentionParams& params, int64_t num_pages, cudaStream_t stream);

// Packed or paged attention of many queries a sequence there: (dk, dv) as FlashHeads says, num_splits 1, rows aligned; paged: page_size a multiple of 64.
// key_rows: rows of k and v (packed), or pages. counter: 4 bytes of scratch. False, and nothing launched, where no tensor maps can be made.
bool LaunchFlashWgmma(const AttentionParams& params, int64_t key_rows, int32_t* counter, cudaStream_t stream);

// Joins the parts of a split attention: reads partial_out and partial_lse, writes out and lse.
void LaunchCombineSplits(const AttentionParams& params, cudaStream_t stream);

// How many parts to cut the keys into, so that `blocks` blocks times the parts fill `num_slots` places in whole waves. At most max_splits.
int ChooseSplits(int blocks, int num_slots, int max_splits);

}  // namespace fathom::cuda
