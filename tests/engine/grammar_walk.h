// Random texts of a grammar, by the masks alone.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "engine/fake_runner.h"
#include "engine/grammar.h"

namespace fathom {

inline std::vector<int32_t> Allowed(GrammarMatcher& matcher, int64_t vocab_size) {
  std::vector<uint32_t> mask(static_cast<size_t>(NumMaskWords(vocab_size)));
  matcher.FillMask(mask);
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < vocab_size; ++i) {
    if (mask[static_cast<size_t>(i / 32)] >> (i % 32) & 1) tokens.push_back(i);
  }
  return tokens;
}

struct Walk {
  std::string text;
  bool has_ended = false;  // at a place where it may
};

// Chooses at random among what is allowed, ends at random where it may; characters that close something are likelier, the more the longer the text is.
inline Walk RandomWalk(const std::shared_ptr<const Grammar>& grammar, const Tokenizer& tokenizer, uint64_t seed, int most_tokens = 2000) {
  std::mt19937_64 random(seed);
  GrammarMatcher matcher(grammar);
  Walk walk;
  for (int i = 0; i < most_tokens; ++i) {
    const std::vector<int32_t> allowed = Allowed(matcher, grammar->vocab_size());
    if (matcher.MayEnd() && (allowed.empty() || random() % 4 == 0)) {
      walk.has_ended = true;
      return walk;
    }
    if (allowed.empty()) return walk;
    std::vector<double> weights;
    for (const int32_t token : allowed) {
      const std::string text = tokenizer.TokenBytes(token);
      const bool closes = text == "\"" || text == "}" || text == "]";
      weights.push_back(closes ? 20.0 + i : text == "," ? 3 : text == "{" || text == "[" ? (i < 100 ? 2 : 1e-6) : 1);
    }
    const int32_t token = allowed[std::discrete_distribution<size_t>(weights.begin(), weights.end())(random)];
    FATHOM_CHECK(matcher.Accept(token), "token {} is in the mask and is not accepted", token);
    walk.text += tokenizer.TokenBytes(token);
  }
  return walk;
}

}  // namespace fathom
