// Requests to tokens. One request may ask for n samples; a stream of deltas comes back through a callback.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/model.h"
#include "text/tokenizer.h"

namespace fathom {

class Grammar;

// transformers' definitions for repetition_penalty (on prompt and answer), OpenAI's for presence and frequency (on the answer).
struct SamplingParams {
  double temperature = 0.0;  // 0: greedy
  int64_t top_k = 0;         // 0: off
  double top_p = 1.0;
  double min_p = 0.0;
  double repetition_penalty = 1.0;
  double presence_penalty = 0.0;
  double frequency_penalty = 0.0;
  std::vector<std::pair<int32_t, double>> logit_bias = {};  // added to a token's logit before everything else
  uint64_t seed = 0;
};

struct GenerationRequest {
  std::vector<int32_t> prompt = {};
  SamplingParams sampling = {};
  int64_t max_new_tokens = 256;
  std::vector<std::string> stop = {};        // stop strings, not part of the text
  std::vector<int32_t> stop_token_ids = {};  // eos and others
  bool ignore_eos = false;
  int64_t num_samples = 1;
  int64_t num_logprobs = -1;                 // -1: none; k >= 0: the chosen token's and the k best
  int64_t num_prompt_logprobs = -1;          // the same of the prompt's tokens, from the second on
  bool show_special_tokens = false;          // in the text
  // What the answer must be a text of; null: anything. An end token is chosen only where it may end, and it ends by itself where nothing can follow.
  std::shared_ptr<const Grammar> grammar = {};
  std::string user = {};                     // turns are shared fairly among users
  int64_t priority = 0;                      // larger waits longer
  std::function<bool()> cancelled = {};      // asked before every step, the chunks of the prompt too; may be empty
};

enum class FinishReason { kNone, kStop, kLength, kCancelled };

// Log-probabilities of the model's own distribution: before grammar, penalties, temperature and cuts.
struct TokenLogprob {
  int32_t token = 0;
  double logprob = 0;
  std::vector<std::pair<int32_t, double>> top = {};
};

// A piece of sample `index`: the text that is certain now, the tokens behind it.
struct Delta {
  int64_t index = 0;
  std::string text = {};
  std::vector<int32_t> tokens = {};
  std::vector<TokenLogprob> logprobs = {};
  std::vector<TokenLogprob> prompt_logprobs = {};  // come first, in the prompt's order, with sample 0
  FinishReason finish = FinishReason::kNone;
  std::string stop_string = {};  // that ended it
};

struct Timings {
  double queue_s = 0;    // until its first step
  double prefill_s = 0;  // until the first token is chosen
  double decode_s = 0;   // the rest
  int64_t prompt_tokens = 0, completion_tokens = 0;
  int64_t prefilled_tokens = 0;  // of the prompt, those that were not in the cache already
  int64_t decoded_tokens = 0;    // of the completions, those that cost a step (all but the first of each)
};

struct LoadedModel {  // what a request needs
  std::shared_ptr<Model> model;
  std::shared_ptr<const Tokenizer> tokenizer;  // null: token ids only
  int64_t context_length = 0;
};

// Runs one request to its end on an engine of its own. on_delta returns false to cancel. Throws UserError (empty prompt, token out of range, prompt longer than the context).
Timings Generate(const LoadedModel& loaded, const GenerationRequest& request, const std::function<bool(const Delta&)>& on_delta);

class Engine;

// The same on an engine that nobody else steps: submits the request and steps until it ends.
Timings GenerateOn(Engine& engine, const GenerationRequest& request, const std::function<bool(const Delta&)>& on_delta);

// Throws the UserErrors of Generate.
void CheckRequest(const GenerationRequest& request, int64_t vocab_size, int64_t context_length);

}  // namespace fathom
