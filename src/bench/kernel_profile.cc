#include "bench/kernel_profile.h"

#include <fmt/format.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <map>
#include <set>

namespace fathom {

std::vector<KernelTime> ProfileKernels(const std::function<void()>& work) {
  namespace profiler = torch::profiler::impl;
  const profiler::ProfilerConfig config(profiler::ProfilerState::KINETO);
  const std::set<profiler::ActivityType> activities = {profiler::ActivityType::CPU, profiler::ActivityType::CUDA};
  torch::autograd::profiler::prepareProfiler(config, activities);
  torch::autograd::profiler::enableProfiler(config, activities);
  work();
  const auto result = torch::autograd::profiler::disableProfiler();
  std::map<std::string, KernelTime> by_name;
  for (const auto& event : result->events()) {
    if (event.deviceType() != c10::DeviceType::CUDA) continue;
    KernelTime& kernel = by_name[event.name()];
    kernel.name = event.name();
    ++kernel.count;
    kernel.milliseconds += static_cast<double>(event.durationNs()) / 1e6;
  }
  std::vector<KernelTime> kernels;
  for (auto& [name, kernel] : by_name) kernels.push_back(kernel);
  std::sort(kernels.begin(), kernels.end(), [](const KernelTime& a, const KernelTime& b) { return a.milliseconds > b.milliseconds; });
  return kernels;
}

std::string FormatProfile(const std::vector<KernelTime>& kernels, size_t most_rows) {
  double total = 0;
  int64_t count = 0;
  for (const KernelTime& kernel : kernels) {
    total += kernel.milliseconds;
    count += kernel.count;
  }
  std::string text = fmt::format("{} kernels, {:.2f} ms\n", count, total);
  for (size_t i = 0; i < std::min(most_rows, kernels.size()); ++i) {
    const KernelTime& kernel = kernels[i];
    const std::string name = kernel.name.size() > 140 ? kernel.name.substr(0, 137) + "..." : kernel.name;
    text += fmt::format("{:9.3f} ms {:5.1f}% {:5} x  {}\n", kernel.milliseconds, 100 * kernel.milliseconds / total, kernel.count, name);
  }
  return text;
}

}  // namespace fathom
