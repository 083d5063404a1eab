// What a run says about its model now and then: its losses on held-out text, and prompts continued.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/loader.h"
#include "model/model.h"
#include "text/tokenizer.h"

namespace fathom {

struct EvaluationOptions {
  int64_t rows = 16;             // held-out rows that are read, fewer where there are no more
  int64_t rows_at_once = 16;
  double router_temperature = 1;
};

struct EvaluationMetrics {
  double loss = 0;           // next token, mean over held-out rows
  double bits_per_byte = 0;  // of the text's bytes that the targets stand for
  // The share of places where the MTP module, which has seen the next token, gives for the one behind it the token that the model itself holds most likely there:
  // what speculation would accept. Of a model with such a module.
  std::optional<double> mtp_acceptance;
};

// Reads `held_out` from where it is. Nothing where it has no row.
std::optional<EvaluationMetrics> Evaluate(const Model& model, DataLoader& held_out, const EvaluationOptions& options);

// Greedy continuations of at most `num_tokens` tokens, all prompts in one batch; an end-of-sequence token ends one. Each step runs the whole text again.
std::vector<std::string> ContinueTexts(const Model& model, const Tokenizer& tokenizer, const std::vector<std::string>& prompts, int64_t num_tokens,
                                       double router_temperature);

}  // namespace fathom
