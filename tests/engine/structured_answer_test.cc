// Answers that keep a grammar, through the engine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "base/json.h"
#include "engine/engine.h"
#include "engine/fake_runner.h"
#include "engine/regex_grammar.h"
#include "engine/schema_grammar.h"
#include "engine/schema_validator.h"

namespace fathom {
namespace {

using ::testing::HasSubstr;

GrammarCompiler& Compiler() {
  static const ByteTokenizer tokenizer;
  static GrammarCompiler compiler(tokenizer, 257, std::vector<int32_t>{ByteTokenizer::kEnd});
  return compiler;
}

std::shared_ptr<const Grammar> Regex(const std::string& regex) { return Compiler().Compile({"root ::= " + RegexToEbnf(regex, RegexPlace::kText, "regex") + "\n"}); }

std::shared_ptr<const Grammar> Schema(const OrderedJson& schema) {
  EbnfWriter writer;
  const std::string root = SchemaToEbnf(schema, writer, "schema");
  return Compiler().Compile({writer.Text(root)});
}

const OrderedJson& PersonSchema() {
  static const OrderedJson kSchema = OrderedJson::parse(R"({"type": "object", "properties": {"name": {"type": "string", "maxLength": 6}, "age": {"type": "integer", "minimum": 0, "maximum": 130},
      "tags": {"type": "array", "items": {"enum": ["a", "bb", "ccc"]}, "maxItems": 3}}, "required": ["name", "age"]})");
  return kSchema;
}

int32_t Mixed(const std::vector<int32_t>& tokens) {
  uint64_t hash = 7;
  for (const int32_t token : tokens) hash = (hash ^ static_cast<uint64_t>(token)) * 0x100000001b3u;
  return static_cast<int32_t>((hash >> 20) % 257);
}

struct Outcome {
  std::vector<int32_t> tokens;
  std::string text, error;
  std::vector<TokenLogprob> logprobs;
  FinishReason finish = FinishReason::kNone;
};

struct Requests {
  FakeRunner* runner = nullptr;
  std::unique_ptr<Engine> engine;
  std::vector<std::unique_ptr<std::vector<Outcome>>> outcomes;

  explicit Requests(EngineOptions options = {}, int64_t num_pages = 200, std::function<int32_t(const std::vector<int32_t>&)> rule = Mixed) {
    auto made = std::make_unique<FakeRunner>(257, std::move(rule), num_pages);
    runner = made.get();
    options.context_length = 5000;
    engine = std::make_unique<Engine>(std::move(made), std::make_shared<ByteTokenizer>(), options);
  }
  void Submit(GenerationRequest request) {
    auto& into = *outcomes.emplace_back(std::make_unique<std::vector<Outcome>>(static_cast<size_t>(request.num_samples)));
    engine->Submit(std::move(request), {.on_delta = [&into](const Delta& delta) {
                                          Outcome& outcome = into[static_cast<size_t>(delta.index)];
                                          outcome.tokens.insert(outcome.tokens.end(), delta.tokens.begin(), delta.tokens.end());
                                          outcome.logprobs.insert(outcome.logprobs.end(), delta.logprobs.begin(), delta.logprobs.end());
                                          outcome.text += delta.text;
                                          outcome.finish = delta.finish;
                                          return true;
                                        },
                                        .on_end = [&into](const Timings&, std::exception_ptr error) {
                                          try {
                                            if (error) std::rethrow_exception(error);
                                          } catch (const std::exception& e) {
                                            into[0].error = e.what();
                                          }
                                        }});
  }
  void All() {
    while (engine->Step()) {
    }
    EXPECT_EQ(engine->stats().scheduler.num_used_blocks, 0);
  }
  const Outcome& operator[](size_t i) const { return (*outcomes[i])[0]; }
};

GenerationRequest Request(std::shared_ptr<const Grammar> grammar, uint64_t seed, double temperature = 1) {
  return {.prompt = {1, 2, static_cast<int32_t>(seed % 200)}, .sampling = {.temperature = temperature, .seed = seed}, .max_new_tokens = 400,
          .stop_token_ids = {ByteTokenizer::kEnd}, .grammar = std::move(grammar)};
}

// Requests of many kinds; every third is free.
GenerationRequest MixedRequest(int i) {
  GenerationRequest request = Request(i % 3 == 0 ? nullptr : i % 3 == 1 ? Schema(PersonSchema()) : Regex("([a-f]{2,5},){3}end"), 100 + static_cast<uint64_t>(i), i % 4 == 0 ? 0 : 0.5);
  if (i % 3 == 0) request.max_new_tokens = 60;
  if (i % 5 == 1) request.sampling.frequency_penalty = 0.3;
  if (i % 5 == 2) request.sampling.top_p = 0.9;
  for (int j = 0; j < i * 7 % 90; ++j) request.prompt.push_back(j * i % 250);
  return request;
}

TEST(StructuredAnswer, EveryAnswerThatEndsSatisfiesItsSchema) {
  for (const bool picks : {false, true}) {
    Requests run({.max_running = 40});
    run.runner->MakeFlat();  // any token is as likely
    if (picks) run.runner->PickTokens();
    for (uint64_t seed = 0; seed < 60; ++seed) run.Submit(Request(Schema(PersonSchema()), seed));
    run.All();
    int num_ended = 0;
    for (size_t i = 0; i < 60; ++i) {
      EXPECT_EQ(run[i].error, "");
      if (run[i].finish != FinishReason::kStop) continue;
      ++num_ended;
      const OrderedJson value = OrderedJson::parse(run[i].text, nullptr, false);
      ASSERT_FALSE(value.is_discarded()) << run[i].text;
      EXPECT_EQ(Violation(PersonSchema(), value, PersonSchema()), "") << run[i].text;
    }
    EXPECT_GT(num_ended, 50);
    EXPECT_EQ(run.runner->num_choices() > 0, picks);
  }
}

TEST(StructuredAnswer, WhoChoosesTheTokensAndWhoeverRunsBesideChangesNothing) {
  std::vector<std::vector<int32_t>> alone;
  for (int i = 0; i < 16; ++i) {
    Requests run;
    run.Submit(MixedRequest(i));
    run.All();
    EXPECT_EQ(run[0].error, "");
    alone.push_back(run[0].tokens);
  }
  for (const int64_t num_pages : {200, 8}) {  // with 8 blocks most are preempted and computed again
    for (const int64_t num_drafts : {0, 3}) {
      for (const bool picks : {false, true}) {
        Requests run({.max_running = 16, .tokens_per_step = 64, .num_drafts = num_drafts}, num_pages);
        if (picks) run.runner->PickTokens();
        for (int i = 0; i < 16; ++i) {
          run.Submit(MixedRequest(i));
          if (i % 4 == 0) run.engine->Step();
        }
        run.All();
        for (size_t i = 0; i < 16; ++i) EXPECT_EQ(run[i].tokens, alone[i]) << i << " drafts " << num_drafts;
        EXPECT_EQ(run.engine->stats().scheduler.num_preemptions > 0, num_pages == 8);
      }
    }
  }
}

TEST(StructuredAnswer, GuessesSaveStepsWithAGrammarToo) {
  const auto grammar = Regex("(abc,){30}!");
  const auto request = Request(grammar, 3, 0);
  Requests plain, guessed({.num_drafts = 4});
  plain.Submit(request);
  guessed.Submit(request);
  plain.All();
  guessed.All();
  EXPECT_EQ(plain[0].tokens, guessed[0].tokens);
  EXPECT_EQ(plain[0].text.size(), 121u);
  EXPECT_LT(guessed.runner->num_steps(), 60);
  EXPECT_EQ(guessed.engine->stats().accepted_tokens, guessed.engine->stats().drafted_tokens) << "what the grammar does not let is never guessed";
}

TEST(StructuredAnswer, EndsWhereNothingCanFollowAndNowhereElse) {
  // The model wants the end token always.
  Requests run({}, 200, [](const std::vector<int32_t>&) { return ByteTokenizer::kEnd; });
  run.Submit(Request(Regex("abc"), 0, 0));
  run.Submit(Request(Regex("abc[x-z]*"), 0, 0));
  GenerationRequest goes_on = Request(Regex("abc[x-z]*"), 0, 0);
  goes_on.ignore_eos = true;
  goes_on.max_new_tokens = 10;
  run.Submit(goes_on);
  GenerationRequest stops = Request(Regex("[a-z]{9}"), 0, 0);
  stops.stop = {"aaa"};
  run.Submit(stops);
  run.All();
  EXPECT_EQ(run[0].text, "abc");
  EXPECT_EQ(run[0].tokens.size(), 3u) << "no step is spent on an end that is the only way";
  EXPECT_EQ(run[0].finish, FinishReason::kStop);
  EXPECT_EQ(run[1].text, "abc");
  EXPECT_EQ(run[1].tokens.back(), ByteTokenizer::kEnd);
  EXPECT_EQ(run[2].text, "abcxxxxxxx");
  EXPECT_EQ(run[2].finish, FinishReason::kLength);
  EXPECT_EQ(run[3].text, "");
  EXPECT_EQ(run[3].finish, FinishReason::kStop);
}

TEST(StructuredAnswer, EachOfSeveralSamplesKeepsTheGrammar) {
  Requests run;
  run.runner->MakeFlat();
  GenerationRequest request = Request(Regex("[a-d]{4}(-[0-9]{2}){2}"), 8);
  request.num_samples = 5;
  run.Submit(request);
  run.All();
  std::set<std::string> texts;
  for (const Outcome& outcome : *run.outcomes[0]) {
    EXPECT_THAT(outcome.text, ::testing::MatchesRegex("[a-d]{4}(-[0-9]{2}){2}"));
    texts.insert(outcome.text);
  }
  EXPECT_GT(texts.size(), 1u);
}

TEST(StructuredAnswer, LogprobsAreTheModelsOwn) {
  Requests run({}, 200, [](const std::vector<int32_t>&) { return 'x'; });
  GenerationRequest request = Request(Regex("a"), 0, 0);
  request.num_logprobs = 1;
  run.Submit(request);
  run.All();
  ASSERT_EQ(run[0].logprobs.size(), 1u);
  EXPECT_EQ(run[0].logprobs[0].token, 'a');
  EXPECT_LT(run[0].logprobs[0].logprob, -9) << "of all tokens, though the grammar let one alone";
  EXPECT_EQ(run[0].logprobs[0].top[0].first, 'x');
}

TEST(StructuredAnswer, OneThatFailsHarmsNobody) {
  Requests run({.max_running = 4});
  run.runner->MakeFlat();
  const auto ambiguous = Compiler().Compile({"root ::= root root root | [a-z] | \"\"\n"});
  GenerationRequest bad = Request(ambiguous, 1);
  bad.stop_token_ids = {};
  bad.max_new_tokens = 4000;
  run.Submit(bad);
  run.Submit(Request(Regex("[a-z]{200}"), 2));
  run.All();
  EXPECT_THAT(run[0].error, HasSubstr("too ambiguous"));
  EXPECT_EQ(run[1].error, "");
  EXPECT_EQ(run[1].text.size(), 200u);
}

TEST(StructuredAnswer, AGrammarOfAnotherVocabularyIsRefused) {
  const ByteTokenizer tokenizer;
  GrammarCompiler other(tokenizer, 300, {});
  Requests run;
  EXPECT_THROW(run.Submit(Request(other.Compile({"root ::= \"a\"\n"}), 0)), UserError);
}

}  // namespace
}  // namespace fathom
