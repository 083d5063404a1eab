// fathom bench serve.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "cli/verbs.h"
#include "model/model.h"

namespace fathom {

struct ServeBenchFlags {
  std::string url, api_key;
  int64_t requests = 128, concurrency = 16, most_tokens = 1024, shared_prompt = 0;
  double rate = 0, ttft_limit_ms = 2000, itl_limit_ms = 200;
  bool no_static = false;
  std::string schema;
};
void AddServeBenchFlags(CLI::App& verb, ServeBenchFlags& flags);

// Loads the server at flags.url with requests of OpenAI's API. Returns the exit code: 1 where a request failed.
int BenchServer(const ServeBenchFlags& flags, const CommonOptions& common);
// The engine with answers held to flags.schema beside free ones.
int BenchSchema(const ServeBenchFlags& flags, const CommonOptions& common);
// Without a server: the engine beside static batches, or with flags.shared_prompt a prompt's second time beside its first.
int BenchBatching(const ServeBenchFlags& flags, const std::shared_ptr<Model>& model, const CommonOptions& common);

}  // namespace fathom
