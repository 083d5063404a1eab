// fathom doctor: what this machine has, what works, what to install.
#include <ATen/Parallel.h>
#include <CLI/CLI.hpp>
#include <torch/headeronly/version.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/free_memory.h"
#include "base/json.h"
#include "bench/machine.h"
#include "cli/compute_device.h"
#include "cli/json_output.h"
#include "cli/verb_options.h"
#include "cli/verbs.h"
#include "cli/version.h"
#include "engine/catalogue.h"
#include "ops/cuda_backend.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

std::string CpuModel() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

// The instruction sets that the kernels choose between, as this CPU has them.
std::vector<std::string> CpuFeatures() {
  std::ifstream info("/proc/cpuinfo");
  std::vector<std::string> found;
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("flags", 0) != 0) continue;
    std::istringstream words(line.substr(line.find(':') + 1));
    const std::vector<std::string> wanted = {"avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8"};
    for (std::string word; words >> word;) {
      if (std::find(wanted.begin(), wanted.end(), word) != wanted.end()) found.push_back(word);
    }
    break;
  }
  return found;
}

bool Has(const std::vector<std::string>& list, const char* name) { return std::find(list.begin(), list.end(), name) != list.end(); }

// The compiler of the CUDA toolkit: on PATH or where its installer puts it; empty if it is not there.
std::string FindNvcc() {
  std::istringstream folders(std::getenv("PATH") ? std::getenv("PATH") : "");
  std::vector<std::string> places;
  for (std::string folder; std::getline(folders, folder, ':');) places.push_back(folder);
  places.push_back("/usr/local/cuda/bin");
  for (const std::string& folder : places) {
    std::error_code error;
    if (fs::exists(fs::path(folder) / "nvcc", error)) return (fs::path(folder) / "nvcc").string();
  }
  return "";
}

std::string FindCudaBackend() {
  std::error_code error;
  const fs::path library = fs::read_symlink("/proc/self/exe", error).parent_path() / "libfathom_cuda.so";
  return fs::exists(library, error) ? library.string() : "";
}

OrderedJson CudaDevices(bool usable) {
  OrderedJson devices = OrderedJson::array();
  if (!usable) return devices;
  const FathomCudaTable* table = ops::CudaTable();
  for (int32_t i = 0; i < table->device_count(); ++i) {
    char name[256] = "";
    size_t free_bytes = 0, total_bytes = 0;
    table->device_name(i, name, sizeof name);
    table->memory_info(i, &free_bytes, &total_bytes);
    devices.push_back({{"name", name}, {"free_bytes", free_bytes}, {"total_bytes", total_bytes}});
  }
  return devices;
}

OrderedJson Examine() {
  std::string why;
  const bool cuda_usable = CudaIsUsable(&why);
  const std::string nvcc = FindNvcc(), backend = FindCudaBackend();
  const auto features = CpuFeatures();
  const auto model = FindInstalled(Catalogue().front());
  const int64_t total_memory = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE);

  OrderedJson advice = OrderedJson::array();
  if (!model) advice.push_back("the default model is not installed: run `make setup`, or give --model");
  if (!Has(features, "avx2")) advice.push_back("this CPU has no AVX2: the program runs on its generic, slow kernels");
  else if (!Has(features, "avx512_bf16") && !Has(features, "amx_bf16")) advice.push_back("this CPU has no bfloat16 products: bf16 models are computed in fp32");
  const bool has_device = fs::exists("/dev/nvidiactl") || fs::exists("/dev/nvidia0");
  if (has_device && nvcc.empty() && backend.empty()) advice.push_back("an NVIDIA device is there but no CUDA toolkit: install CUDA 13 (nvcc) and run `make` again to build libfathom_cuda.so");
  if (has_device && !nvcc.empty() && backend.empty()) advice.push_back("an NVIDIA device and the CUDA toolkit are there, but libfathom_cuda.so is not built: run `make` again");
  return {{"version", Version()},
          {"libtorch", TORCH_VERSION},
          {"cpu", {{"model", CpuModel()}, {"cores", sysconf(_SC_NPROCESSORS_ONLN)}, {"threads", at::get_num_threads()}, {"features", features}}},
          {"memory", {{"total_bytes", total_memory}, {"free_bytes", FreeMemoryBytes()}, {"read_gb_per_s", MeasureReadBandwidth(at::get_num_threads())}}},
          {"cuda",
           {{"usable", cuda_usable},
            {"why_not", cuda_usable ? OrderedJson() : OrderedJson(why)},
            {"toolkit", nvcc.empty() ? OrderedJson() : OrderedJson(nvcc)},
            {"backend", backend.empty() ? OrderedJson() : OrderedJson(backend)},
            {"devices", CudaDevices(cuda_usable)}}},
          {"default_model", {{"name", Catalogue().front().name}, {"path", model ? OrderedJson(model->string()) : OrderedJson()}}},
          {"advice", advice}};
}

std::string TextOr(const OrderedJson& value, const char* otherwise) { return value.is_string() ? value.get<std::string>() : otherwise; }

int RunDoctor(bool json) {
  const OrderedJson found = Examine();
  if (json) {
    PrintJson(found);
    return 0;
  }
  std::string features;
  for (const auto& feature : found["cpu"]["features"]) features += " " + feature.get<std::string>();
  const auto& memory = found["memory"];
  std::printf("fathom %s, LibTorch %s\n", Version(), TORCH_VERSION);
  std::printf("cpu            %s, %d cores, %d threads used\n", TextOr(found["cpu"]["model"], "").c_str(), found["cpu"]["cores"].get<int>(),
              found["cpu"]["threads"].get<int>());
  std::printf("               %s\n", features.empty() ? "none of the instruction sets that kernels are written for" : features.substr(1).c_str());
  std::printf("memory         %.1f GB, %.1f GB free, read at %.1f GB/s\n", memory["total_bytes"].get<double>() / 1e9,
              memory["free_bytes"].get<double>() / 1e9, memory["read_gb_per_s"].get<double>());
  std::printf("cuda toolkit   %s\n", TextOr(found["cuda"]["toolkit"], "not found").c_str());
  std::printf("cuda backend   %s\n", TextOr(found["cuda"]["backend"], "not built").c_str());
  if (!found["cuda"]["usable"].get<bool>()) std::printf("cuda device    none: %s\n", TextOr(found["cuda"]["why_not"], "").c_str());
  for (const auto& device : found["cuda"]["devices"]) {
    std::printf("cuda device    %s, %.1f of %.1f GB free\n", TextOr(device["name"], "").c_str(), device["free_bytes"].get<double>() / 1e9,
                device["total_bytes"].get<double>() / 1e9);
  }
  std::printf("default model  %s\n", TextOr(found["default_model"]["path"], "not installed").c_str());
  for (const auto& line : found["advice"]) std::printf("* %s\n", TextOr(line, "").c_str());
  if (found["advice"].empty()) std::printf("everything that this machine can do works\n");
  return 0;
}

}  // namespace

VerbFunction AddDoctor(CLI::App& app, CommonOptions& common) {
  CLI::App* verb = app.add_subcommand("doctor", "what this machine has, what works, what to install");
  AddCommonOptions(*verb, common, kJsonFlag);
  verb->footer("Examples:\n  fathom doctor\n  fathom doctor --json");
  return [&common] { return RunDoctor(common.json); };
}

}  // namespace fathom
