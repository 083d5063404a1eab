// The input of a verb as text, a file, token ids or messages, and the sampling flags.
#pragma once

#include <CLI/CLI.hpp>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "engine/generate.h"
#include "engine/generation_config.h"
#include "text/chat_template.h"

namespace fathom {

// --messages F.json: an array of messages, or an object with "messages" and "tools". --tools F.json: an array. --template-args: an object.
struct MessageFlags {
  std::string messages, tools, template_args;
  void Add(CLI::App& verb);
  // Reads the files. add_generation_prompt is true.
  TemplateInput Read() const;
};

// --temperature --top-p --top-k --min-p --repetition-penalty --presence-penalty --frequency-penalty
void AddSamplingFlags(CLI::App& verb, SamplingFlags& flags);

// --json-schema --json-schema-file --grammar --grammar-file (llama.cpp's names) and --regex: what the answer must be a text of.
struct GrammarFlags {
  std::string schema, schema_file, grammar, grammar_file, regex;
  void Add(CLI::App& verb);
  // As EBNF; empty: none is given. Throws UserError for two of them, and for a schema or expression that is none.
  std::string Read() const;
};

// The seed of --seed; without it one that differs each time.
uint64_t ChooseSeed(bool given, uint64_t seed);

}  // namespace fathom
