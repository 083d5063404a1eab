// Which kernel an attention takes: pure functions of its shape and of the device.
#pragma once

#include <algorithm>
#include <cstdint>

namespace fathom::cuda {

enum class AttentionKernel {
  kPlain,  // any shape and dtype
  kMma,    // 16-bit tensor cores of Ampere and later
  kWgmma,  // Hopper's warpgroup products
};

struct AttentionShape {
  bool has_wgmma = false;   // compute capability 9.0
  bool is_16_bit = false;
  bool is_aligned = false;  // rows of q, k and v begin at multiples of 16 bytes
  bool has_topk = false;
  bool is_fp8 = false;      // MLA's cache in FP8
  int64_t tokens = 0, batch = 0, heads = 0, kv_heads = 1, dk = 0, dv = 0;
  int64_t page_size = 0;  // 0: packed
  int64_t max_keys = 0;   // paged: of a sequence, as its page table allows
};

inline bool FlashHeads(int64_t dk, int64_t dv) { return (dk == 64 && dv == 64) || (dk == 128 && dv == 128) || (dk == 192 && dv == 128); }

// packed_attention and paged_attention. Warpgroup products take 128 queries of one head at a time: with few queries a sequence most would be empty, and a
// decode step wants the heads that share keys together and its keys in parts.
inline AttentionKernel ChooseAttention(const AttentionShape& s) {
  if (!s.is_16_bit || !s.is_aligned || s.has_topk || !FlashHeads(s.dk, s.dv)) return AttentionKernel::kPlain;
  const bool many_queries = s.tokens >= 64 * s.batch;
  return s.has_wgmma && many_queries && s.page_size % 64 == 0 ? AttentionKernel::kWgmma : AttentionKernel::kMma;
}

// mla_paged_attention, dk = kv_lora_rank + rope.
inline AttentionKernel ChooseMlaAttention(const AttentionShape& s) {
  if (!s.is_16_bit || !s.is_aligned || s.has_topk || s.dk != 576 || s.dv != 512) return AttentionKernel::kPlain;
  // Few heads on few keys: a step is its latency, and the smaller kernel starts sooner.
  const bool is_tiny = !s.is_fp8 && s.heads <= 16 && s.batch * s.max_keys <= 2048;
  return s.has_wgmma && s.page_size % 64 == 0 && !is_tiny ? AttentionKernel::kWgmma : AttentionKernel::kMma;
}

// Blocks of 64 rows that cover the queries' heads, whatever the sequences' lengths: a sequence of n queries has ceil(n * heads / 64).
inline int64_t MlaWgmmaTiles(int64_t tokens, int64_t heads, int64_t batch) {
  if (heads % 64 == 0) return tokens * (heads / 64);
  return std::min(tokens * ((heads + 63) / 64), tokens * heads / 64 + batch);
}

// As many of them as have work when all sequences have equally many queries.
inline int64_t LikelyMlaWgmmaTiles(int64_t tokens, int64_t heads, int64_t batch) {
  const int64_t queries = (tokens + batch - 1) / std::max<int64_t>(1, batch);
  return std::min(MlaWgmmaTiles(tokens, heads, batch), batch * ((queries * heads + 63) / 64));
}

// Query heads that walk the keys side by side, a divisor of `heads`: as many as leave their keys and values in half of L2.
inline int64_t HeadsTogether(int64_t heads, int64_t kv_heads, int64_t keys_a_sequence, int64_t bytes_a_key, int64_t cache_bytes) {
  const int64_t group = heads / kv_heads;
  int64_t most = cache_bytes / 2 / std::max<int64_t>(1, keys_a_sequence * bytes_a_key) * group;
  most = std::clamp<int64_t>(most, group, heads);
  while (heads % most != 0) --most;
  return most;
}

}  // namespace fathom::cuda
