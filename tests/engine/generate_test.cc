#include "engine/generate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/engine.h"
#include "engine/fake_runner.h"

namespace fathom {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// An engine over a fake model, which stays at hand.
struct FakeModel {
  std::unique_ptr<FakeRunner> made;
  FakeRunner& runner;
  explicit FakeModel(std::function<int32_t(const std::vector<int32_t>&)> rule) : made(std::make_unique<FakeRunner>(257, std::move(rule))), runner(*made) {}
  Engine& engine(int64_t context = 1000) {
    if (made) built = std::make_unique<Engine>(std::move(made), std::make_shared<ByteTokenizer>(), EngineOptions{.context_length = context});
    return *built;
  }
  int64_t num_used_blocks() const { return built->stats().scheduler.num_used_blocks; }
  std::unique_ptr<Engine> built;
};

// A model that says `text` after a prompt of `prompt_length` tokens, then the end token.
FakeModel Saying(const std::string& text, size_t prompt_length) {
  return FakeModel([=](const std::vector<int32_t>& tokens) -> int32_t {
    const size_t said = tokens.size() - prompt_length;
    return said < text.size() ? static_cast<unsigned char>(text[said]) : ByteTokenizer::kEnd;
  });
}

struct Said {
  std::string text;
  std::vector<std::string> pieces;
  std::vector<int32_t> tokens;
  std::vector<TokenLogprob> logprobs;
  FinishReason finish = FinishReason::kNone;
};

std::vector<Said> Collect(FakeModel& world, const GenerationRequest& request, int64_t context = 1000, Timings* timings = nullptr) {
  std::vector<Said> answers(request.num_samples);
  const Timings measured = GenerateOn(world.engine(context), request, [&](const Delta& delta) {
    Said& answer = answers.at(delta.index);
    EXPECT_EQ(answer.finish, FinishReason::kNone) << "a delta after the end";
    answer.text += delta.text;
    answer.pieces.push_back(delta.text);
    answer.tokens.insert(answer.tokens.end(), delta.tokens.begin(), delta.tokens.end());
    answer.logprobs.insert(answer.logprobs.end(), delta.logprobs.begin(), delta.logprobs.end());
    answer.finish = delta.finish;
    return true;
  });
  if (timings != nullptr) *timings = measured;
  return answers;
}

std::string MessageOf(const std::function<void()>& action) {
  try {
    action();
  } catch (const UserError& e) {
    return e.what();
  }
  return "";
}

TEST(Generate, EndsAtTheEndTokenWhichIsATokenButNotText) {
  FakeModel world = Saying("hi", 3);
  Timings timings;
  const auto answers = Collect(world, {.prompt = {1, 2, 3}, .stop_token_ids = {ByteTokenizer::kEnd}}, 1000, &timings);
  EXPECT_EQ(answers[0].text, "hi");
  EXPECT_THAT(answers[0].tokens, ElementsAre('h', 'i', ByteTokenizer::kEnd));
  EXPECT_EQ(answers[0].finish, FinishReason::kStop);
  EXPECT_EQ(timings.prompt_tokens, 3);
  EXPECT_EQ(timings.completion_tokens, 3);
  EXPECT_EQ(timings.decoded_tokens, 2);
  EXPECT_EQ(world.num_used_blocks(), 0) << "everything is freed";
}

TEST(Generate, IgnoresTheEndTokenWhenAskedTo) {
  FakeModel world = Saying("hi", 1);
  const auto answers = Collect(world, {.prompt = {1}, .max_new_tokens = 4, .stop_token_ids = {256}, .ignore_eos = true});
  EXPECT_THAT(answers[0].tokens, ElementsAre('h', 'i', 256, 256));
  EXPECT_EQ(answers[0].text, "hi");
  EXPECT_EQ(answers[0].finish, FinishReason::kLength);
}

TEST(Generate, StopsAtAStopStringAcrossTokensAndShowsNoPartOfIt) {
  FakeModel world = Saying("one STOP two", 1);
  const auto answers = Collect(world, {.prompt = {1}, .stop = {"STOP"}, .stop_token_ids = {256}});
  EXPECT_EQ(answers[0].text, "one ");
  EXPECT_EQ(answers[0].finish, FinishReason::kStop);
  EXPECT_EQ(answers[0].tokens.size(), 8u) << "the tokens up to the one that completed the stop string";
  FakeModel other = Saying("one STO", 1);
  EXPECT_EQ(Collect(other, {.prompt = {1}, .stop = {"STOP"}, .stop_token_ids = {256}})[0].text, "one STO");
}

TEST(Generate, NeverShowsHalfACharacter) {
  FakeModel world = Saying("\xc3\xa9\xe2\x82\xac!", 1);
  const auto answers = Collect(world, {.prompt = {1}, .stop_token_ids = {256}});
  EXPECT_THAT(answers[0].pieces, ElementsAre("", "\xc3\xa9", "", "", "\xe2\x82\xac", "!", ""));
}

TEST(Generate, StopsWithLengthAtMaxNewTokensAndAtTheEndOfTheContext) {
  FakeModel world = Saying("abcdefgh", 3);
  EXPECT_EQ(Collect(world, {.prompt = {1, 2, 3}, .max_new_tokens = 2})[0].text, "ab");
  FakeModel small = Saying("abcdefgh", 3);
  const auto at_context = Collect(small, {.prompt = {1, 2, 3}}, 8);
  EXPECT_EQ(at_context[0].text, "abcde");
  EXPECT_EQ(at_context[0].finish, FinishReason::kLength);
  FakeModel full_world = Saying("abcdefgh", 3);
  const auto full = Collect(full_world, {.prompt = {1, 2, 3}}, 3);
  EXPECT_TRUE(full[0].tokens.empty());
  EXPECT_EQ(full[0].finish, FinishReason::kLength);
}

TEST(Generate, RefusesWhatCannotBeAnsweredWithTheRuleAndTheValues) {
  const auto message = [&](GenerationRequest request, int64_t context) {
    FakeModel world = Saying("", 0);
    std::string text = MessageOf([&] { Collect(world, request, context); });
    EXPECT_EQ(world.runner.num_run(), 0);
    return text;
  };
  EXPECT_THAT(message({.prompt = {}}, 10), HasSubstr("prompt is empty"));
  EXPECT_THAT(message({.prompt = {1, 257}}, 10), HasSubstr("token 257 of the prompt is out of range"));
  EXPECT_THAT(message({.prompt = {-1}}, 10), HasSubstr("token -1"));
  EXPECT_THAT(message({.prompt = {1, 2, 3}}, 2), HasSubstr("3 tokens, more than the model's context of 2"));
}

TEST(Generate, SamplesShareThePromptsPrefillAndDrawFromStreamsOfTheirOwn) {
  FakeModel world([](const auto&) { return 0; });
  world.runner.MakeFlat();
  const GenerationRequest request{.prompt = std::vector<int32_t>(2000, 5), .sampling = {.temperature = 1, .seed = 9}, .max_new_tokens = 6,
                                  .num_samples = 3};
  const auto answers = Collect(world, request, 5000);
  EXPECT_EQ(world.runner.num_run(), 2000 + 3 * 5 + 2 * (2000 % kBlockTokens)) << "one prefill, then five steps a sample; the open block is run again for each";
  EXPECT_NE(answers[0].tokens, answers[1].tokens);
  EXPECT_NE(answers[1].tokens, answers[2].tokens);
  EXPECT_EQ(Collect(world, request, 5000)[1].tokens, answers[1].tokens) << "same seed, same text";
  GenerationRequest alone = request;
  alone.num_samples = 1;
  EXPECT_EQ(Collect(world, alone, 5000)[0].tokens, answers[0].tokens) << "the first sample does not depend on how many there are";
  EXPECT_EQ(world.num_used_blocks(), 0);
}

TEST(Generate, GivesLogprobsOfEveryTokenWhenAsked) {
  FakeModel world = Saying("ab", 1);
  const auto answers = Collect(world, {.prompt = {1}, .sampling = {.temperature = 0}, .max_new_tokens = 2, .num_logprobs = 2});
  ASSERT_EQ(answers[0].logprobs.size(), 2u);
  EXPECT_EQ(answers[0].logprobs[0].token, 'a');
  EXPECT_NEAR(answers[0].logprobs[0].logprob, 10 - std::log(std::exp(10.0) + 256), 1e-9);
  EXPECT_EQ(answers[0].logprobs[0].top.size(), 2u);
}

TEST(Generate, EndsWhenTheReaderSaysSo) {
  FakeModel world = Saying("abcdefgh", 1);
  int pieces = 0;
  FinishReason last = FinishReason::kNone;
  GenerateOn(world.engine(100), {.prompt = {1}}, [&](const Delta& delta) {
    last = delta.finish;
    return ++pieces < 3;
  });
  EXPECT_EQ(pieces, 4) << "three tokens and the end";
  EXPECT_EQ(last, FinishReason::kCancelled);
  EXPECT_EQ(world.num_used_blocks(), 0);
}

TEST(Generate, CanBeCancelledWithinALongPrompt) {
  FakeModel world = Saying("a", 5000);
  int asked = 0;
  GenerationRequest request{.prompt = std::vector<int32_t>(5000, 1)};
  request.cancelled = [&] { return ++asked > 2; };
  EXPECT_EQ(Collect(world, request, 9000)[0].finish, FinishReason::kCancelled);
  EXPECT_EQ(world.runner.num_run(), 2048);
}

TEST(Generate, APromptRunsOnlyFromTheFirstTokenThatDiffersFromWhatIsInTheCache) {
  FakeModel world([](const std::vector<int32_t>& tokens) { return static_cast<int32_t>(tokens.size() % 200); });
  const auto ask = [&](std::vector<int32_t> prompt) {
    const int64_t before = world.runner.num_run();
    Collect(world, {.prompt = std::move(prompt), .max_new_tokens = 3});
    return world.runner.num_run() - before;
  };
  EXPECT_EQ(ask({9, 9, 9, 9}), 4 + 2);
  EXPECT_EQ(ask({9, 9, 9, 9, 4, 5, 8}), 1 + 2) << "the answer 4 5 is there already";
  EXPECT_EQ(ask({9, 9, 1}), 1 + 2);
  EXPECT_EQ(ask({9, 9, 1}), 1 + 2) << "at least the last token, for its logits";
}

}  // namespace
}  // namespace fathom
