// The whole service: an engine with its thread, the endpoints, and the port.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/loading.h"
#include "serve/http_server.h"
#include "serve/service.h"

namespace fathom {

struct ServeOptions {
  HttpOptions http = {};
  ServiceOptions service = {};
  std::vector<std::string> names = {};  // empty: the file's or folder's name
  int64_t max_model_len = 0;            // 0: the model's context, or what the cache holds where that is less
  int64_t max_num_seqs = 128;
  int64_t tokens_per_step = 512;
  int64_t max_waiting = 1024;
  double memory_fraction = 0.4;         // of the memory that is free when the model is loaded
  bool reuse_prefixes = true;
  int64_t num_drafts = 0;                // guesses by prompt lookup
  bool use_mtp = false;                  // guesses by the model's MTP module
  int compute_threads = 0;
  double drain_seconds = 30;            // for answers under way when it is told to end
  std::string version;
};

// What a started server tells.
struct ServeStarted {
  std::string name, url;
  int64_t cache_tokens = 0, max_model_len = 0;
};

// Serves until `asked_to_end`, then takes nothing new, finishes what is under way within drain_seconds and returns. The port is bound when the model
// can answer; on_started is called then. Throws UserError and MachineError before that.
void Serve(const LoadedCheckpoint& model, const ServeOptions& options, const std::function<bool()>& asked_to_end,
           const std::function<void(const ServeStarted&)>& on_started);

// The access log's line of an exchange: one JSON object, no text of prompts or answers.
std::string AccessLogLine(const ExchangeRecord& record);

}  // namespace fathom
