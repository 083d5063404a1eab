// How likely a text is: log-probabilities of each token after those before it.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "model/model.h"

namespace fathom {

struct ScoreOptions {
  bool keep_logits = false;              // fill `logits_TV` and `mtp_logits_TV`
  std::function<bool()> cancelled = {};  // asked between chunks of rows
};

struct Score {
  std::vector<double> logprobs;   // [T - 1]: of token i + 1 after tokens 0 .. i
  at::Tensor logits_TV;           // float32 on the CPU
  at::Tensor mtp_logits_TV;       // [T - 1, V]: row i has seen token i + 1 and predicts i + 2; undefined without an MTP module or with one token
  bool cancelled = false;
};

// One forward over all tokens, then the head by chunks of rows, so that [T, V] is never whole in memory unless it is asked for.
// Throws UserError for no tokens, an id out of range, and more tokens than the context.
Score ScoreTokens(const Model& model, const std::vector<int32_t>& tokens, int64_t context_length, const ScoreOptions& options);

}  // namespace fathom
