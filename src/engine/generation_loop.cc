// One request on a runner: prefill, then a step at a time for every sample that is not done.
#include "engine/generate.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <span>
#include <utility>

#include "base/error.h"
#include "engine/runner.h"
#include "engine/sampler.h"
#include "engine/stop_strings.h"

namespace fathom {
namespace {

constexpr int64_t kPrefillChunk = 1024;

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// One answer on its way: chooses tokens, turns them into text, knows when it ends.
class Sample {
 public:
  Sample(const GenerationRequest& request, const std::shared_ptr<const Tokenizer>& tokenizer, int64_t index, int64_t most_new_tokens)
      : request_(request), index_(index), most_new_tokens_(most_new_tokens),
        sampler_(request.sampling, request.prompt, static_cast<uint64_t>(index)), stop_(request.stop) {
    if (tokenizer != nullptr) detokenizer_.emplace(tokenizer, /*skip_special=*/true);
    if (most_new_tokens_ == 0) finish_ = FinishReason::kLength;
  }

  // Takes the next token from its logits.
  Delta Step(std::span<const float> logits_V) {
    const int32_t token = sampler_.Choose(logits_V);
    Delta delta = Take(token);
    if (request_.num_logprobs >= 0) delta.logprobs.push_back(LogprobsOf(logits_V, token, request_.num_logprobs));
    return delta;
  }

  // Takes a token that the runner has chosen.
  Delta Take(int32_t token) {
    if (token < 0) ThrowMachineError("the model gave no finite logit: its weights are broken, or --dtype is too narrow for it");
    Delta delta{.index = index_, .tokens = {token}, .finish = FinishReason::kNone};
    last_token_ = token;
    ++num_tokens_;
    const auto& ends = request_.stop_token_ids;
    if (!request_.ignore_eos && std::find(ends.begin(), ends.end(), token) != ends.end()) {
      delta.text = Finish(FinishReason::kStop);
    } else {
      if (detokenizer_) delta.text = stop_.Push(detokenizer_->Push(token));
      if (stop_.matched()) finish_ = FinishReason::kStop;
      else if (num_tokens_ >= most_new_tokens_) delta.text += Finish(FinishReason::kLength);
    }
    delta.finish = finish_;
    return delta;
  }

  Delta Cancel() {
    Delta delta{.index = index_, .text = Finish(FinishReason::kCancelled), .finish = FinishReason::kCancelled};
    return delta;
  }

  bool done() const { return finish_ != FinishReason::kNone; }
  int32_t last_token() const { return last_token_; }
  int64_t num_tokens() const { return num_tokens_; }
  FinishReason finish() const { return finish_; }
  int64_t index() const { return index_; }

 private:
  // Text that was held back; it may still hold a stop string whole.
  std::string Finish(FinishReason reason) {
    finish_ = reason;
    std::string text;
    if (detokenizer_) text = stop_.Push(detokenizer_->Finish());
    if (stop_.matched()) finish_ = FinishReason::kStop;
    return text + stop_.Finish();
  }

  const GenerationRequest& request_;
  int64_t index_, most_new_tokens_;
  Sampler sampler_;
  StopMatcher stop_;
  std::optional<StreamDetokenizer> detokenizer_;
  int32_t last_token_ = -1;
  int64_t num_tokens_ = 0;
  FinishReason finish_ = FinishReason::kNone;
};

// Frees its sequences however the request ends.
class SequenceGuard {
 public:
  explicit SequenceGuard(Runner& runner) : runner_(runner) {}
  ~SequenceGuard() {
    for (const int32_t sequence : sequences_) runner_.FreeSequence(sequence);
  }
  void Own(int32_t sequence) { sequences_.push_back(sequence); }

 private:
  Runner& runner_;
  std::vector<int32_t> sequences_;
};

std::span<const float> Row(const at::Tensor& logits_BV, int64_t row) {
  return {logits_BV.const_data_ptr<float>() + row * logits_BV.size(1), static_cast<size_t>(logits_BV.size(1))};
}

// Runs what of `prompt` the sequence does not hold yet, at least its last token. The logits [1, V] after it; undefined when cancelled.
at::Tensor Prefill(Runner& runner, int32_t sequence, const GenerationRequest& request, Timings& timings) {
  const std::vector<int32_t>& prompt = request.prompt;
  const std::vector<int32_t>& held = runner.Tokens(sequence);
  const auto differ = std::mismatch(held.begin(), held.end(), prompt.begin(), prompt.end());
  const int64_t in_common = std::min<int64_t>(differ.first - held.begin(), std::ssize(prompt) - 1);
  int64_t start = runner.Truncate(sequence, in_common);
  timings.prefilled_tokens = std::ssize(prompt) - start;
  at::Tensor logits_1V;
  for (; start < std::ssize(prompt); start += kPrefillChunk) {
    if (request.cancelled && request.cancelled()) return {};
    const int64_t end = std::min<int64_t>(start + kPrefillChunk, std::ssize(prompt));
    logits_1V = runner.Run({{sequence, {prompt.begin() + start, prompt.begin() + end}}}, end == std::ssize(prompt));
  }
  return logits_1V;
}

// Greedy, with nothing that needs the logits on the host.
bool IsPlainGreedy(const GenerationRequest& request) {
  const SamplingParams& p = request.sampling;
  return p.temperature == 0 && p.repetition_penalty == 1 && p.presence_penalty == 0 && p.frequency_penalty == 0 && request.num_logprobs < 0;
}

}  // namespace

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
  CheckSampling(request.sampling);
}

Timings GenerateOn(Runner& runner, const std::shared_ptr<const Tokenizer>& tokenizer, int64_t context_length, const GenerationRequest& request,
                   const std::function<bool(const Delta&)>& on_delta, int32_t* kept_sequence) {
  CheckRequest(request, runner.vocab_size(), context_length);
  const int64_t num_samples = request.num_samples;
  FATHOM_CHECK(kept_sequence == nullptr || num_samples == 1, "{} samples on one kept sequence", num_samples);
  Timings timings;
  timings.prompt_tokens = std::ssize(request.prompt);
  const int64_t most_new = std::min(request.max_new_tokens, context_length - timings.prompt_tokens);
  std::vector<Sample> samples;
  samples.reserve(num_samples);
  for (int64_t i = 0; i < num_samples; ++i) samples.emplace_back(request, tokenizer, i, most_new);

  SequenceGuard guard(runner);
  std::vector<int32_t> sequences;
  if (kept_sequence != nullptr) {
    if (*kept_sequence < 0) *kept_sequence = runner.NewSequence();
    sequences.push_back(*kept_sequence);
  } else {
    sequences.push_back(runner.NewSequence());
    guard.Own(sequences[0]);
  }

  bool cancelled = false;
  const auto emit = [&](const Delta& delta) { cancelled = !on_delta(delta) || cancelled; };
  const double start = Now();
  at::Tensor logits_BV = Prefill(runner, sequences[0], request, timings);
  cancelled = !logits_BV.defined();
  if (!cancelled && most_new > 0) {
    for (Sample& sample : samples) emit(sample.Step(Row(logits_BV, 0)));
  }
  timings.prefill_s = Now() - start;
  if (!cancelled && num_samples > 1 && most_new > 1) {
    for (const int32_t sequence : runner.Fork(sequences[0], num_samples - 1)) {
      sequences.push_back(sequence);
      guard.Own(sequence);
    }
  }

  while (!cancelled) {
    std::vector<Runner::Item> items;
    std::vector<Sample*> running;
    for (int64_t i = 0; i < num_samples; ++i) {
      if (samples[i].done()) continue;
      items.push_back({sequences[i], {samples[i].last_token()}});
      running.push_back(&samples[i]);
    }
    if (items.empty() || (request.cancelled && request.cancelled())) {
      cancelled = !items.empty();
      break;
    }
    if (runner.picks_tokens() && IsPlainGreedy(request)) {
      const std::vector<int32_t> tokens = runner.RunGreedy(items);
      for (int64_t row = 0; row < std::ssize(running); ++row) emit(running[row]->Take(tokens[row]));
    } else {
      logits_BV = runner.Run(items, true);
      for (int64_t row = 0; row < std::ssize(running); ++row) emit(running[row]->Step(Row(logits_BV, row)));
    }
    timings.decoded_tokens += std::ssize(running);
  }
  timings.decode_s = Now() - start - timings.prefill_s;
  for (Sample& sample : samples) {
    if (!sample.done()) on_delta(sample.Cancel());
    else if (sample.num_tokens() == 0) on_delta({.index = sample.index(), .finish = sample.finish()});
    timings.completion_tokens += sample.num_tokens();
  }
  return timings;
}

}  // namespace fathom
