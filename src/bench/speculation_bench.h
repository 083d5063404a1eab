// One answer at a time, with guesses and without: what speculation is worth on a text.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/generate.h"

namespace fathom {

struct SpeculationBenchOptions {
  std::string text;             // prompts are pieces of it, at equal distances
  int64_t num_requests = 16;
  int64_t prompt_tokens = 512, new_tokens = 64;
  int64_t num_lookup_drafts = 4;  // of prompt lookup
  SamplingParams sampling = {};   // greedy
  int64_t rounds = 3;             // the ways take turns; each one's fastest round counts
  std::function<bool()> cancelled = {};
};

struct SpeculationResult {
  std::string way;             // "none", "mtp" or "lookup"
  double tokens_per_s = 0;     // of decode: the tokens after each answer's first
  double tokens_per_step = 0;
  double acceptance = 0;       // of the guesses, the part that was right
  int64_t num_equal = 0;       // answers that are those of "none"
};

// None first, then MTP where the model has a module, then prompt lookup. Every answer has new_tokens tokens. Throws UserError where the text has too
// few tokens or the model no tokenizer.
std::vector<SpeculationResult> BenchSpeculation(const LoadedModel& loaded, const SpeculationBenchOptions& options);

}  // namespace fathom
