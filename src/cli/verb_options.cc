#include "cli/verb_options.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <limits>

#include "base/error.h"
#include "cli/arguments.h"

namespace fathom {
namespace {

void CheckDeviceName(const std::string& text) {
  bool valid = text == "auto" || text == "cpu" || text == "cuda";
  if (text.rfind("cuda:", 0) == 0) {
    const std::string index = text.substr(5);
    valid = !index.empty() && index.size() <= 2 && std::all_of(index.begin(), index.end(), [](unsigned char c) { return std::isdigit(c); });
  }
  FATHOM_USER_CHECK(valid, "--device must be cpu, cuda or cuda:N, got '{}'", text);
}

void CheckDtypeName(const std::string& text) {
  FATHOM_USER_CHECK(text == "auto" || text == "bf16" || text == "fp16" || text == "fp32",
                    "--dtype must be auto, bf16, fp16 or fp32, got '{}'", text);
}

uint64_t ParseSeed(const std::string& text) {
  uint64_t seed = 0;
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, seed);
  FATHOM_USER_CHECK(error == std::errc() && stopped == end, "--seed must be an integer from 0 to 2^64 - 1, got '{}'", text);
  return seed;
}

}  // namespace

void AddCommonOptions(CLI::App& verb, CommonOptions& common, unsigned flags) {
  const auto add = [&verb](const std::string& name, std::function<void(const std::string&)> set, const std::string& help) {
    return verb.add_option_function<std::string>(name, set, help);
  };
  if (flags & kModelFlag) {
    add("--model", [&](const std::string& text) {
      FATHOM_USER_CHECK(!text.empty(), "--model must name a folder, a .gguf file or a model of `fathom models`, got ''");
      common.model = text;
    }, "a folder, a .gguf file or a name of `fathom models`")->type_name("M");
  }
  if (flags & kJsonFlag) AddSwitch(verb, "--json", common.json, "print JSON on stdout and nothing else there");
  add("--device", [&](const std::string& text) { CheckDeviceName(text); common.device = text; },
      "cpu, cuda or cuda:N (cuda if it is there)")->type_name("D");
  if (flags & kModelFlag) {
    add("--gpu-layers", [&](const std::string& text) {
      common.gpu_layers = text == "all" ? -1 : ParseInteger("--gpu-layers", text, 0, 100'000);
    }, "with cuda: this many of the last layers on the GPU, the others on the CPU (all)")->type_name("N");
    AddSwitch(verb, "--cpu-moe", common.cpu_moe, "with cuda: the routed experts stay on the CPU");
  }
  if (flags & kCacheFlag) {
    add("--kv-cache-dtype", [&](const std::string& text) {
      FATHOM_USER_CHECK(text == "auto" || text == "bf16" || text == "fp8", "--kv-cache-dtype must be auto, bf16 or fp8, got '{}'", text);
      common.kv_cache_dtype = text;
    }, "of keys and values in the cache: auto (as the computation), bf16 or fp8 (multi-head latent attention)")->type_name("T");
  }
  add("--dtype", [&](const std::string& text) { CheckDtypeName(text); common.dtype = text; },
      "auto, bf16, fp16 or fp32, of the computation (auto)")->type_name("T");
  add("--threads", [&](const std::string& text) { common.threads = static_cast<int>(ParseInteger("--threads", text, 1, 4096)); },
      "CPU threads (all cores)")->type_name("N");
  add("--seed", [&](const std::string& text) { common.seed = ParseSeed(text); common.seed_given = true; },
      "of everything random")->type_name("N");
  add("--log-level", [&](const std::string& text) { common.log_level = text; },
      "trace, debug, info, warn, error or off (warn)")->type_name("L");
}

}  // namespace fathom
