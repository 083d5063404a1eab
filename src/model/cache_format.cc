#include "model/cache_format.h"

#include "base/error.h"
#include "ops/cache/fp8_latents.h"

namespace fathom {

void CheckCacheFormat(const ModelConfig& config, CacheFormat format) {
  if (format != CacheFormat::kFp8) return;
  FATHOM_USER_CHECK(config.has_mla(), "--kv-cache-dtype fp8 is for models with multi-head latent attention (DeepSeek-V2, V3); this one keeps {} keys and values a token",
                    config.num_key_value_heads);
  FATHOM_USER_CHECK(config.kv_lora_rank % ops::kFp8LatentGroup == 0 && config.qk_rope_head_dim % 2 == 0,
                    "--kv-cache-dtype fp8 needs a kv_lora_rank that is a multiple of {}, this model's is {}", ops::kFp8LatentGroup, config.kv_lora_rank);
}

int64_t CacheBytesPerTokenPerLayer(const ModelConfig& config, at::ScalarType dtype, CacheFormat format) {
  const auto size = static_cast<int64_t>(c10::elementSize(dtype));
  const int64_t index = config.has_indexer() ? config.index_head_dim : 0;
  const int64_t values = config.kv_values_per_token_per_layer() - index;
  if (format == CacheFormat::kFp8) return ops::Fp8LatentBytes(config.kv_lora_rank, config.qk_rope_head_dim) + index * size;
  return values * (format == CacheFormat::kBf16 ? 2 : size) + index * size;
}

}  // namespace fathom
