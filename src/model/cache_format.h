// In which numbers a paged cache keeps keys and values.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>

#include "model/config.h"

namespace fathom {

enum class CacheFormat {
  kModel,  // the model's dtype
  kBf16,
  kFp8,    // MLA's latents in e4m3 with a float32 scale for each 128, their rope part in bf16 (ops/cache/fp8_latents.h)
};

// Throws UserError naming --kv-cache-dtype where `config` has no such cache: kFp8 is for MLA with kv_lora_rank a multiple of 128.
void CheckCacheFormat(const ModelConfig& config, CacheFormat format);

// Of one token in one layer, the indexer's key (always in the model's dtype) included.
int64_t CacheBytesPerTokenPerLayer(const ModelConfig& config, at::ScalarType dtype, CacheFormat format);

}  // namespace fathom
