// fathom bench speculation.
#pragma once

#include <cstdint>
#include <string>

#include "cli/verbs.h"

namespace fathom {

struct SpeculationBenchFlags {
  std::string file;
  int64_t prompts = 16, prompt_tokens = 512, new_tokens = 64;
  bool sampled = false;
};

// One answer at a time on pieces of a text, with the model's own guesses, with prompt lookup and without. Throws UserError.
int BenchSpeculationVerb(const SpeculationBenchFlags& flags, const CommonOptions& common);

}  // namespace fathom
