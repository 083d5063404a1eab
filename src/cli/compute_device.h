// Where the computation runs: threads of the CPU, or a CUDA device when its backend is there.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <string>

#include "cli/verbs.h"
#include "engine/loading.h"

namespace fathom {

// What every verb needs before it begins: the number of threads, and the CUDA backend where --device asks for it (before any other call
// into LibTorch, which remembers whether there was one). Throws UserError when --device cuda cannot be had.
void PrepareCompute(const CommonOptions& common);

// The device of --device; auto is cuda where it works. Called by verbs that compute, before their first tensor.
c10::Device ResolveDevice(const CommonOptions& common);

// The dtype that --dtype names where no checkpoint has one of its own: bf16 for auto. And a dtype's name there.
c10::ScalarType DtypeOfFlag(const std::string& flag);
std::string FlagOfDtype(c10::ScalarType dtype);

// What --kv-cache-dtype names.
CacheFormat CacheFormatOf(const CommonOptions& common);

// How a verb's model is loaded, as the flags say.
LoadOptions LoadOptionsOf(const CommonOptions& common, bool need_tokenizer = true);

// Whether the backend is loaded now and a device answers; else why not, in one line.
bool CudaIsUsable(std::string* why);

}  // namespace fathom
