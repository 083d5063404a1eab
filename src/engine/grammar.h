// Answers that keep a grammar: of each step the set of tokens with which the answer can still become a text of the language. The sets come from
// xgrammar (Dong et al., arXiv 2411.15100), which no other header knows.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace fathom {

// A language, compiled for a vocabulary. Immutable; any number of answers and threads may share one.
class Grammar {
 public:
  virtual ~Grammar() = default;
  virtual int64_t vocab_size() const = 0;
  virtual int64_t num_bytes() const = 0;  // that it takes, about
};

// Bits of a set of tokens: token i is bit i % 32 of word i / 32.
inline int64_t NumMaskWords(int64_t vocab_size) { return (vocab_size + 31) / 32; }

// Where one answer stands in its grammar. For one thread at a time. Throws UserError when tokens take more than 10 ms of a core each, in the mean
// beyond a first second, or an answer more than 256 MB: the grammar is too ambiguous.
class GrammarMatcher {
 public:
  explicit GrammarMatcher(std::shared_ptr<const Grammar> grammar);
  ~GrammarMatcher();
  GrammarMatcher(GrammarMatcher&&) noexcept;

  // The tokens that may come next, into [NumMaskWords] words; end tokens are never among them. False: there is none.
  bool FillMask(std::span<uint32_t> mask);
  // Takes a token; false, and nothing has changed, where the grammar does not let it.
  bool Accept(int32_t token);
  // Takes the last `count` accepted tokens back.
  void Rollback(int64_t count);
  // What was accepted is a text of the language.
  bool MayEnd() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct GrammarLimits {
  int64_t most_text_bytes = 1 << 20;     // of the EBNF
  double most_cpu_s = 10;                // to compile one
  int64_t most_bytes = int64_t{1} << 30;  // while compiling one
  int64_t most_cached_bytes = 256 << 20;  // of compiled grammars that are kept for the next who asks
};

// Compiles grammars for one vocabulary and keeps those that were asked for last. Any thread may call it; the work is done on the caller's time.
class GrammarCompiler {
 public:
  // vocab_size: of the model, which may be larger than the tokenizer's. Special tokens and `ends` are no text.
  GrammarCompiler(const Tokenizer& tokenizer, int64_t vocab_size, std::span<const int32_t> ends, const GrammarLimits& limits = {});
  ~GrammarCompiler();

  // The language of the parts' texts one after the other. A part is EBNF (the W3C's notation, as llama.cpp's GBNF has it: `root ::= "a" [0-9]{1,3} b?`)
  // and begins at its rule `root`. Throws UserError for what is no grammar, has no text that this vocabulary can write, or costs more than the limits.
  std::shared_ptr<const Grammar> Compile(const std::vector<std::string>& parts);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fathom
