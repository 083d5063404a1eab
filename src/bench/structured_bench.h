// What holding answers to a form costs: the same engine, prompts and lengths, free and with a grammar, in turns.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "engine/generate.h"

namespace fathom {

struct StructuredBenchOptions {
  std::string ebnf;          // whose texts are longer than new_tokens
  int64_t batch = 16;        // answers at once
  int64_t prompt_tokens = 32, new_tokens = 64;
  int64_t rounds = 5;        // of each kind; the medians count
  std::function<bool()> cancelled = {};
};

struct StructuredBenchResult {
  double compile_s = 0;      // of the grammar, the vocabulary's preparation included
  double free_tokens_per_s = 0, formed_tokens_per_s = 0;
  double mask_us = 0;        // of one core, a token: to find the set of allowed ones and to follow the one chosen
  double seconds_per_step = 0;  // free
};

// Throws UserError where an answer's form ends before its length.
StructuredBenchResult BenchStructured(const LoadedModel& loaded, const StructuredBenchOptions& options);

}  // namespace fathom
