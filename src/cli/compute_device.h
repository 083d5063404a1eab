// Where the computation runs: threads of the CPU, or a CUDA device when its backend is there.
#pragma once

#include <c10/core/Device.h>

#include "cli/verbs.h"

namespace fathom {

// Sets the number of threads, and loads the CUDA backend when a device is asked for or could be there. The first call of the program
// into LibTorch. Throws UserError when --device cuda cannot be had.
void PrepareCompute(const CommonOptions& common);

// The device of --device; auto is cuda where it works.
c10::Device ResolveDevice(const CommonOptions& common);

// Whether the backend is loaded and a device answers; else why not.
bool CudaIsUsable(std::string* why);

}  // namespace fathom
