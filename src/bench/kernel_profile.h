// Where the time of a GPU goes: the kernels of a piece of work by name, through LibTorch's profiler.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace fathom {

struct KernelTime {
  std::string name;
  int64_t count = 0;
  double milliseconds = 0;  // of all calls
};

// Runs `work`, which must end with nothing left running on the device, and gives its kernels and copies, the longest first. Empty without a GPU.
std::vector<KernelTime> ProfileKernels(const std::function<void()>& work);

// A table with a row a kernel, at most `most_rows` of them, and their sum.
std::string FormatProfile(const std::vector<KernelTime>& kernels, size_t most_rows);

}  // namespace fathom
