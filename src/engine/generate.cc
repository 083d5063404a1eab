#include "engine/generate.h"

#include <algorithm>
#include <iterator>

#include "engine/model_runner.h"

namespace fathom {

Timings Generate(const LoadedModel& loaded, const GenerationRequest& request, const std::function<bool(const Delta&)>& on_delta) {
  CheckRequest(request, loaded.model->config().vocab_size, loaded.context_length);
  const int64_t tokens_each = std::min(std::ssize(request.prompt) + request.max_new_tokens, loaded.context_length);
  ModelRunner runner(loaded.model, {.max_sequence_tokens = tokens_each, .num_sequences = request.num_samples});
  return GenerateOn(runner, loaded.tokenizer, loaded.context_length, request, on_delta);
}

}  // namespace fathom
