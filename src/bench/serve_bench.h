// Serving many requests: the same mix of lengths through the engine, in static batches, or over HTTP to any server with OpenAI's API.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/model.h"

namespace fathom {

struct RequestLengths {
  int64_t prompt_tokens = 0, new_tokens = 0;
};

// Lengths of `count` requests, prompt and answer each lognormal with the median and sigma (of the logarithm), rounded and clipped to [least, most].
struct LengthMix {
  double median = 100, sigma = 1.0;
  int64_t least = 4, most = 1024;
  uint64_t seed = 0;
};
std::vector<RequestLengths> DrawLengths(int64_t count, const LengthMix& mix);

struct EngineBenchOptions {
  int64_t num_requests = 128;
  int64_t max_running = 128;
  int64_t tokens_per_step = 512;
  int64_t static_batch = 16;
  LengthMix mix = {};
  std::function<bool()> cancelled = {};
};

struct ThroughputResult {
  int64_t new_tokens = 0;  // that were asked for
  int64_t steps = 0;
  double seconds = 0;
  double tokens_per_s() const { return seconds > 0 ? static_cast<double>(new_tokens) / seconds : 0; }
};

// All requests are there at once. Greedy, every answer as long as its length says.
ThroughputResult BenchEngine(const std::shared_ptr<Model>& model, const EngineBenchOptions& options);
// The same requests in the order of arrival, `static_batch` at a time: prompts are padded to the batch's longest, every step runs all rows until the
// batch's longest answer is done. Same kernels.
ThroughputResult BenchStaticBatches(const std::shared_ptr<Model>& model, const EngineBenchOptions& options);

struct SharedPromptOptions {
  int64_t shared_tokens = 1000, own_tokens = 24;
  int64_t rounds = 5;  // each with another shared prompt
  int64_t tokens_per_step = 512;
  std::function<bool()> cancelled = {};
};

// Medians over the rounds.
struct SharedPromptResult {
  double first_s = 0, second_s = 0;       // to the first token
  int64_t first_run = 0, second_run = 0;  // tokens of the prompt that were computed
};

// Two requests one after the other whose prompts begin with the same tokens and end in tokens of their own.
SharedPromptResult BenchSharedPrompt(const std::shared_ptr<Model>& model, const SharedPromptOptions& options);

struct ServerLoad {
  std::string url;          // http://host:port
  std::string api_key = {};
  int64_t num_requests = 128;
  int64_t concurrency = 16;  // at once, where there is no rate
  double rate = 0;           // requests a second, Poisson arrivals
  LengthMix mix = {};
  double ttft_limit_s = 2, itl_limit_s = 0.2;  // what goodput counts as good
  std::function<bool()> cancelled = {};
};

struct Percentiles {
  double p50 = 0, p95 = 0, p99 = 0;
};
Percentiles PercentilesOf(std::vector<double> values);

struct LoadResult {
  int64_t num_done = 0, num_failed = 0;
  int64_t prompt_tokens = 0, new_tokens = 0;
  double seconds = 0;
  Percentiles first_token_s, between_tokens_s, whole_s;
  double good_per_s = 0;  // requests a second within both limits
  std::string first_failure = {};
};

// Streams /v1/completions. Throws UserError for a URL that is not http://HOST:PORT or that nobody answers.
LoadResult BenchLoad(const ServerLoad& options);

}  // namespace fathom
