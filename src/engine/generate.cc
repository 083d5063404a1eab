#include "engine/generate.h"

#include <algorithm>
#include <exception>
#include <iterator>
#include <memory>

#include "base/error.h"
#include "engine/engine.h"
#include "engine/grammar.h"
#include "engine/paged_runner.h"
#include "engine/sampler.h"

namespace fathom {

void CheckRequest(const GenerationRequest& request, int64_t vocab_size, int64_t context_length) {
  FATHOM_USER_CHECK(!request.prompt.empty(), "the prompt is empty: it needs at least one token");
  for (const int32_t token : request.prompt) {
    FATHOM_USER_CHECK(token >= 0 && token < vocab_size, "token {} of the prompt is out of range: the model's vocabulary has ids 0 to {}", token,
                      vocab_size - 1);
  }
  FATHOM_USER_CHECK(std::ssize(request.prompt) <= context_length, "the prompt has {} tokens, more than the model's context of {}",
                    request.prompt.size(), context_length);
  FATHOM_USER_CHECK(request.max_new_tokens >= 0, "--max-new-tokens must be at least 0, got {}", request.max_new_tokens);
  FATHOM_USER_CHECK(request.num_samples >= 1, "--n must be at least 1, got {}", request.num_samples);
  FATHOM_USER_CHECK(!request.grammar || request.grammar->vocab_size() == vocab_size, "the grammar is for a vocabulary of {} tokens, and the model has {}",
                    request.grammar ? request.grammar->vocab_size() : 0, vocab_size);
  CheckSampling(request.sampling);
}

Timings GenerateOn(Engine& engine, const GenerationRequest& request, const std::function<bool(const Delta&)>& on_delta) {
  Timings timings;
  std::exception_ptr error;
  bool ended = false;
  const auto on_end = [&](const Timings& measured, std::exception_ptr failure) {
    timings = measured;
    error = failure;
    ended = true;
  };
  FATHOM_CHECK(engine.Submit(request, {.on_delta = on_delta, .on_end = on_end}).has_value(), "a queue that is full");
  while (!ended) engine.Step();
  if (error) std::rethrow_exception(error);
  return timings;
}

Timings Generate(const LoadedModel& loaded, const GenerationRequest& request, const std::function<bool(const Delta&)>& on_delta) {
  CheckRequest(request, loaded.model->config().vocab_size, loaded.context_length);
  const int64_t tokens_each = std::min(std::ssize(request.prompt) + request.max_new_tokens, loaded.context_length);
  const int64_t pages_each = (tokens_each + kPageTokens - 1) / kPageTokens;
  auto runner = std::make_unique<PagedRunner>(
      loaded.model, PagedRunnerOptions{.num_pages = pages_each * request.num_samples, .max_sequence_tokens = tokens_each});
  Engine engine(std::move(runner), loaded.tokenizer, {.context_length = loaded.context_length, .max_running = request.num_samples});
  return GenerateOn(engine, request, on_delta);
}

}  // namespace fathom
