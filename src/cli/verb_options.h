// The options that verbs share.
#pragma once

#include "cli/verbs.h"

namespace fathom {

inline constexpr unsigned kModelFlag = 1;  // --model M
inline constexpr unsigned kJsonFlag = 2;   // --json
inline constexpr unsigned kCacheFlag = 4;  // --kv-cache-dtype

// Adds --device --gpu-layers --cpu-moe --dtype --threads --seed --log-level, and those of `flags`.
void AddCommonOptions(CLI::App& verb, CommonOptions& common, unsigned flags);

}  // namespace fathom
