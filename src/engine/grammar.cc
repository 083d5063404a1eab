#include "engine/grammar.h"

#include <pthread.h>
#include <xgrammar/compiler.h>
#include <xgrammar/matcher.h>

#include <algorithm>
#include <exception>
#include <functional>
#include <iterator>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "base/error.h"
#include "engine/grammar_budget.h"

namespace fathom {
namespace {

constexpr double kMostAnswerSeconds = 1, kSecondsPerCall = 0.005;  // of a core: what an answer may use at first, and what each call adds; two make a token
constexpr int64_t kMostAnswerBytes = int64_t{256} << 20;
constexpr size_t kCompileStack = size_t{512} << 20;  // rules that refer to each other in a long chain are walked recursively
constexpr int64_t kMostParenthesisDepth = 200;
constexpr int64_t kMostRuleBytes = 1'000'000'000;  // xgrammar looks for each rule in every other: about a second

struct CompiledGrammar : Grammar {
  explicit CompiledGrammar(xgrammar::CompiledGrammar g) : grammar(std::move(g)) {}
  int64_t vocab_size() const override { return grammar.GetTokenizerInfo().GetVocabSize(); }
  int64_t num_bytes() const override { return static_cast<int64_t>(grammar.MemorySizeBytes()); }
  xgrammar::CompiledGrammar grammar;
};

// xgrammar's errors begin with the place in its sources' checks; what the author of a grammar can use comes after.
std::string Cause(const std::exception& error) {
  std::string text = error.what();
  if (const size_t end = text.find(") is false: "); end != std::string::npos) text.erase(0, end + 12);
  std::replace(text.begin(), text.end(), '\n', ' ');
  if (text.size() > 300) text.resize(300);
  return text;
}

// Runs `work` on a thread with a stack for deep recursion and hands on what it throws.
void RunOnLargeStack(const std::function<void()>& work) {
  struct Job {
    const std::function<void()>& work;
    std::exception_ptr error;
  } job{work, nullptr};
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kCompileStack);
  pthread_t thread;
  const auto run = [](void* given) -> void* {
    Job& mine = *static_cast<Job*>(given);
    try {
      mine.work();
    } catch (...) {
      mine.error = std::current_exception();
    }
    return nullptr;
  };
  const int failure = pthread_create(&thread, &attributes, run, &job);
  pthread_attr_destroy(&attributes);
  if (failure != 0) ThrowMachineError("no thread could be started to compile a grammar");
  pthread_join(thread, nullptr);
  if (job.error) std::rethrow_exception(job.error);
}

// Depth of parentheses outside of strings and character classes.
void CheckDepth(const std::string& text) {
  int64_t depth = 0;
  char closing = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (closing != 0) {
      if (c == '\\') ++i;
      else if (c == closing) closing = 0;
    } else if (c == '"' || c == '[') {
      closing = c == '"' ? '"' : ']';
    } else if (c == '#') {
      closing = '\n';
    } else if (c == '(') {
      FATHOM_USER_CHECK(++depth <= kMostParenthesisDepth, "the grammar nests more than {} parentheses", kMostParenthesisDepth);
    } else if (c == ')') {
      --depth;
    }
  }
}

}  // namespace

struct GrammarMatcher::State {
  State(std::shared_ptr<const Grammar> g)
      : grammar(std::move(g)),
        matcher(static_cast<const CompiledGrammar&>(*grammar).grammar, std::nullopt, /*terminate_without_stop_token=*/true),
        num_words(NumMaskWords(grammar->vocab_size())) {}

  template <typename Work>
  bool WithinBudget(Work&& work) {
    try {
      const GrammarBudget budget(std::min(cpu_s_left + kSecondsPerCall, kMostAnswerSeconds), bytes_left);
      const bool result = work();
      bytes_left = budget.bytes_left();
      cpu_s_left = budget.cpu_s_left();
      return result;
    } catch (const GrammarBudgetSpent&) {
      ThrowUserError("the grammar is too ambiguous: its tokens take more than {} ms each, or the answer more than {} MB", 2e3 * kSecondsPerCall, kMostAnswerBytes >> 20);
    }
  }

  std::shared_ptr<const Grammar> grammar;
  xgrammar::GrammarMatcher matcher;
  int64_t num_words;
  double cpu_s_left = kMostAnswerSeconds;
  int64_t bytes_left = kMostAnswerBytes;  // of its memory of what was accepted
};

GrammarMatcher::GrammarMatcher(std::shared_ptr<const Grammar> grammar) : state_(std::make_unique<State>(std::move(grammar))) {}
GrammarMatcher::~GrammarMatcher() = default;
GrammarMatcher::GrammarMatcher(GrammarMatcher&&) noexcept = default;

bool GrammarMatcher::FillMask(std::span<uint32_t> mask) {
  FATHOM_CHECK(std::ssize(mask) == state_->num_words, "a mask of {} words, got {}", state_->num_words, mask.size());
  int64_t shape = state_->num_words, stride = 1;
  DLTensor tensor{.data = mask.data(), .device = {kDLCPU, 0}, .ndim = 1, .dtype = xgrammar::GetBitmaskDLType(), .shape = &shape, .strides = &stride, .byte_offset = 0};
  state_->WithinBudget([&] { return state_->matcher.FillNextTokenBitmask(&tensor); });
  if (const int64_t rest = state_->grammar->vocab_size() % 32; rest != 0) mask.back() &= (uint32_t{1} << rest) - 1;
  return std::any_of(mask.begin(), mask.end(), [](uint32_t word) { return word != 0; });
}

bool GrammarMatcher::Accept(int32_t token) {
  return state_->WithinBudget([&] { return state_->matcher.AcceptToken(token); });
}

void GrammarMatcher::Rollback(int64_t count) {
  if (count > 0) state_->matcher.Rollback(static_cast<int>(count));
}

bool GrammarMatcher::MayEnd() const { return state_->matcher.IsTerminated(); }

struct GrammarCompiler::State {
  using Key = std::vector<std::string>;
  struct Kept {
    Key key;
    std::shared_ptr<const Grammar> grammar;
  };

  std::shared_ptr<const Grammar> Find(const Key& key) {
    const std::lock_guard lock(mutex);
    const auto found = places.find(key);
    if (found == places.end()) return nullptr;
    kept.splice(kept.begin(), kept, found->second);
    return kept.front().grammar;
  }

  void Keep(const Key& key, const std::shared_ptr<const Grammar>& grammar) {
    const std::lock_guard lock(mutex);
    if (places.contains(key)) return;
    kept.push_front({key, grammar});
    places[key] = kept.begin();
    num_bytes += grammar->num_bytes();
    while (num_bytes > limits.most_cached_bytes && kept.size() > 1) {
      num_bytes -= kept.back().grammar->num_bytes();
      places.erase(kept.back().key);
      kept.pop_back();
    }
  }

  xgrammar::GrammarCompiler& Compiler() {
    const std::lock_guard lock(mutex);
    if (!compiler) {  // sorting a vocabulary takes its time: not before somebody asks
      const xgrammar::TokenizerInfo info(texts, xgrammar::VocabType::RAW, static_cast<int>(texts.size()), std::vector<int32_t>{});
      compiler.emplace(info, /*max_threads=*/1, /*cache_enabled=*/false);
      texts = {};
    }
    return *compiler;
  }

  GrammarLimits limits;
  std::mutex mutex;
  std::vector<std::string> texts;  // of the tokens; empty: no text
  std::optional<xgrammar::GrammarCompiler> compiler;
  std::list<Kept> kept;  // the last one that was asked for first
  std::map<Key, std::list<Kept>::iterator> places;
  int64_t num_bytes = 0;
};

GrammarCompiler::GrammarCompiler(const Tokenizer& tokenizer, int64_t vocab_size, std::span<const int32_t> ends, const GrammarLimits& limits)
    : state_(std::make_unique<State>()) {
  state_->limits = limits;
  std::vector<std::string>& texts = state_->texts;
  texts.resize(static_cast<size_t>(vocab_size));
  for (int32_t id = 0; id < std::min(vocab_size, tokenizer.vocab_size()); ++id) {
    if (tokenizer.IsSpecial(id) || std::find(ends.begin(), ends.end(), id) != ends.end()) continue;
    try {
      texts[static_cast<size_t>(id)] = tokenizer.TokenBytes(id);
    } catch (const UserError&) {  // an id between the last token and the added ones
    }
  }
}

GrammarCompiler::~GrammarCompiler() = default;

std::shared_ptr<const Grammar> GrammarCompiler::Compile(const std::vector<std::string>& parts) {
  if (auto found = state_->Find(parts)) return found;
  int64_t num_bytes = 0, num_rules = 0;
  for (const std::string& part : parts) {
    num_bytes += std::ssize(part);
    for (size_t at = part.find("::="); at != std::string::npos; at = part.find("::=", at + 3)) ++num_rules;
    FATHOM_USER_CHECK(part.find('\0') == std::string::npos, "the grammar holds a zero byte");
    CheckDepth(part);
  }
  const GrammarLimits& limits = state_->limits;
  FATHOM_USER_CHECK(num_bytes <= limits.most_text_bytes, "the grammar is {} bytes long, and {} are the most", num_bytes, limits.most_text_bytes);
  FATHOM_USER_CHECK(num_bytes * num_rules <= kMostRuleBytes, "the grammar has {} rules in {} bytes: their product may be {}", num_rules, num_bytes, kMostRuleBytes);
  xgrammar::GrammarCompiler& compiler = state_->Compiler();
  std::shared_ptr<const Grammar> compiled;
  RunOnLargeStack([&] {
    try {
      const GrammarBudget budget(limits.most_cpu_s, limits.most_bytes);
      std::vector<xgrammar::Grammar> grammars;
      for (const std::string& part : parts) grammars.push_back(xgrammar::Grammar::FromEBNF(part));
      const xgrammar::Grammar whole = grammars.size() == 1 ? grammars[0] : xgrammar::Grammar::Concat(grammars);
      compiled = std::make_shared<CompiledGrammar>(compiler.CompileGrammar(whole));
    } catch (const GrammarBudgetSpent& spent) {
      if (spent.is_time) ThrowUserError("the grammar takes more than {} s to compile", limits.most_cpu_s);
      ThrowUserError("the grammar takes more than {} MB to compile", limits.most_bytes >> 20);
    } catch (const UserError&) {
      throw;
    } catch (const std::exception& error) {
      ThrowUserError("the grammar is not understood: {}", Cause(error));
    }
  });
  GrammarMatcher first(compiled);
  std::vector<uint32_t> mask(static_cast<size_t>(NumMaskWords(compiled->vocab_size())));
  FATHOM_USER_CHECK(first.FillMask(mask) || first.MayEnd(), "the grammar lets no text at all");
  state_->Keep(parts, compiled);
  return compiled;
}

}  // namespace fathom
