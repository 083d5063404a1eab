#include "engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <random>
#include <thread>

#include "engine/engine_thread.h"
#include "engine/fake_runner.h"

namespace fathom {
namespace {

using ::testing::HasSubstr;

// The next token is a function of all before it, so that an answer shows whatever went wrong in its cache.
int32_t Mixed(const std::vector<int32_t>& tokens) {
  uint64_t hash = 7;
  for (const int32_t token : tokens) hash = (hash ^ static_cast<uint64_t>(token)) * 0x100000001b3u;
  return static_cast<int32_t>((hash >> 20) % 256);
}

struct Outcome {
  std::vector<int32_t> tokens;
  std::string text, error;
  FinishReason finish = FinishReason::kNone;
  Timings timings;
  bool ended = false;
};

Engine::Callbacks Into(std::vector<Outcome>& outcomes, std::function<bool()> go_on = [] { return true; }) {
  return {.on_delta = [&outcomes, go_on](const Delta& delta) {
            Outcome& outcome = outcomes.at(static_cast<size_t>(delta.index));
            EXPECT_EQ(outcome.finish, FinishReason::kNone) << "a delta after the end";
            outcome.tokens.insert(outcome.tokens.end(), delta.tokens.begin(), delta.tokens.end());
            outcome.text += delta.text;
            outcome.finish = delta.finish;
            return go_on();
          },
          .on_end = [&outcomes](const Timings& timings, std::exception_ptr error) {
            EXPECT_FALSE(outcomes[0].ended);
            outcomes[0].ended = true;
            outcomes[0].timings = timings;
            try {
              if (error) std::rethrow_exception(error);
            } catch (const std::exception& e) {
              outcomes[0].error = e.what();
            }
          }};
}

struct Fake {
  FakeRunner* runner = nullptr;
  std::unique_ptr<Engine> engine;
  explicit Fake(EngineOptions options, std::function<int32_t(const std::vector<int32_t>&)> rule = Mixed, int64_t num_pages = 200) {
    auto made = std::make_unique<FakeRunner>(257, std::move(rule), num_pages);
    runner = made.get();
    if (options.context_length == 0) options.context_length = 10000;
    engine = std::make_unique<Engine>(std::move(made), std::make_shared<ByteTokenizer>(), options);
  }
  void RunAll() {
    while (engine->Step()) {
    }
  }
};

std::vector<int32_t> Alone(const std::vector<int32_t>& prompt, int64_t count) {
  std::vector<int32_t> tokens = prompt;
  for (int64_t i = 0; i < count; ++i) tokens.push_back(Mixed(tokens));
  return {tokens.begin() + std::ssize(prompt), tokens.end()};
}

TEST(Engine, ManyRequestsAtOnceGetTheAnswersThatEachGetsAlone) {
  std::mt19937 random(3);
  for (const int64_t num_pages : {200, 9}) {  // with 9 blocks most of them are preempted again and again
    for (const int64_t num_drafts : {0, 3}) {
      Fake fake({.max_running = 16, .tokens_per_step = 100, .num_drafts = num_drafts}, Mixed, num_pages);
      std::vector<std::vector<int32_t>> prompts;
      std::vector<std::unique_ptr<std::vector<Outcome>>> outcomes;
      for (int i = 0; i < 60; ++i) {
        std::vector<int32_t> prompt(static_cast<size_t>(i % 3 * 60), i % 2);  // some begin alike
        for (int64_t j = random() % 100; j >= 0; --j) prompt.push_back(static_cast<int32_t>(random() % 256));
        prompts.push_back(prompt);
        outcomes.push_back(std::make_unique<std::vector<Outcome>>(1));
        fake.engine->Submit({.prompt = prompt, .max_new_tokens = 1 + i}, Into(*outcomes.back()));
        if (i % 4 == 0) fake.engine->Step();
      }
      fake.RunAll();
      for (size_t i = 0; i < prompts.size(); ++i) {
        EXPECT_EQ((*outcomes[i])[0].tokens, Alone(prompts[i], 1 + static_cast<int64_t>(i))) << i;
        EXPECT_TRUE((*outcomes[i])[0].ended);
      }
      const EngineStats stats = fake.engine->stats();
      EXPECT_EQ(stats.scheduler.num_used_blocks, 0);
      EXPECT_EQ(stats.num_active + stats.num_waiting, 0);
      EXPECT_EQ(stats.scheduler.num_preemptions > 0, num_pages == 9);
    }
  }
}

TEST(Engine, GuessesByLookUpChangeTheStepsAndNotTheAnswer) {
  const auto round = [](const std::vector<int32_t>& tokens) { return static_cast<int32_t>(tokens.size() % 5); };
  const GenerationRequest request{.prompt = {0, 1, 2, 3, 4}, .sampling = {.temperature = 0.1, .seed = 4}, .max_new_tokens = 100};
  std::vector<Outcome> plain(1), guessed(1);
  Fake without({}, round), with({.num_drafts = 3}, round);
  without.engine->Submit(request, Into(plain));
  with.engine->Submit(request, Into(guessed));
  without.RunAll();
  with.RunAll();
  EXPECT_EQ(plain[0].tokens, guessed[0].tokens);
  EXPECT_EQ(plain[0].tokens.size(), 100u);
  EXPECT_LT(with.runner->num_steps(), 40);
  EXPECT_GT(with.engine->stats().accepted_tokens, 60);
}

TEST(Engine, ARunnerThatChoosesTokensGivesTheAnswersOfOneThatGivesLogits) {
  // Repeats of five tokens, so that guesses are right now and then; warm enough that most tokens are drawn.
  const auto round = [](const std::vector<int32_t>& tokens) { return static_cast<int32_t>(tokens.size() % 5); };
  for (const int64_t num_drafts : {0, 3}) {
    std::vector<std::vector<std::unique_ptr<std::vector<Outcome>>>> outcomes(2);
    for (const bool picks : {false, true}) {
      Fake fake({.max_running = 8, .tokens_per_step = 60, .num_drafts = num_drafts}, round);
      if (picks) fake.runner->PickTokens();
      for (int i = 0; i < 12; ++i) {
        GenerationRequest request{.prompt = {0, 1, 2, 3, 4, i}, .max_new_tokens = 40};
        request.sampling.seed = 50 + static_cast<uint64_t>(i);
        if (i % 4 > 0) request.sampling.temperature = i % 4 == 1 ? 0.5 : 1.4;
        if (i % 3 == 1) request.sampling.frequency_penalty = 0.7;
        if (i % 3 == 2) request.sampling.logit_bias = {{7, 9.5}, {2, -5.0}};
        if (i % 5 == 4) request.num_samples = 3;
        if (i == 11) request.num_logprobs = 2;  // one step with it gives logits to all
        auto& into = outcomes[picks].emplace_back(std::make_unique<std::vector<Outcome>>(static_cast<size_t>(request.num_samples)));
        fake.engine->Submit(request, Into(*into));
      }
      fake.RunAll();
      if (picks) EXPECT_GT(fake.runner->num_choices(), 10);
      else EXPECT_EQ(fake.runner->num_choices(), 0);
      if (num_drafts > 0) EXPECT_GT(fake.engine->stats().accepted_tokens, 0);
    }
    for (size_t i = 0; i < outcomes[0].size(); ++i) {
      for (size_t sample = 0; sample < outcomes[0][i]->size(); ++sample) {
        EXPECT_EQ((*outcomes[0][i])[sample].tokens, (*outcomes[1][i])[sample].tokens) << "request " << i << " sample " << sample;
        EXPECT_EQ((*outcomes[0][i])[sample].tokens.size(), 40u);
      }
    }
  }
}

TEST(Engine, ARequestThatFailsTouchesNoOther) {
  const auto rule = [](const std::vector<int32_t>& tokens) { return tokens[0] == 66 && tokens.size() > 3 ? -1 : Mixed(tokens); };
  Fake fake({}, rule);
  std::vector<Outcome> good(1), broken(1), late(1);
  fake.engine->Submit({.prompt = {65}, .max_new_tokens = 8}, Into(good));
  fake.engine->Submit({.prompt = {66}, .max_new_tokens = 8}, Into(broken));
  fake.RunAll();
  EXPECT_THAT(broken[0].error, HasSubstr("no finite logit"));
  EXPECT_EQ(good[0].tokens, Alone({65}, 8));
  EXPECT_EQ(good[0].error, "");
  fake.runner->FailNextStep();
  fake.engine->Submit({.prompt = {65}, .max_new_tokens = 8}, Into(late));
  fake.RunAll();
  EXPECT_THAT(late[0].error, HasSubstr("the device is gone"));
  std::vector<Outcome> after(1);
  fake.engine->Submit({.prompt = {65}, .max_new_tokens = 8}, Into(after));
  fake.RunAll();
  EXPECT_EQ(after[0].tokens, Alone({65}, 8));
  EXPECT_EQ(fake.engine->stats().scheduler.num_used_blocks, 0);
}

TEST(Engine, ACancelFreesEverythingAtTheNextStep) {
  Fake fake({.tokens_per_step = 300});
  std::vector<Outcome> a(3), b(1), waiting(1);
  const auto first = fake.engine->Submit({.prompt = std::vector<int32_t>(700, 1), .max_new_tokens = 500, .num_samples = 3}, Into(a));
  const auto second = fake.engine->Submit({.prompt = {5}, .max_new_tokens = 500}, Into(b));
  for (int i = 0; i < 5; ++i) fake.engine->Step();
  const auto third = fake.engine->Submit({.prompt = {6}, .max_new_tokens = 500}, Into(waiting));
  for (const auto id : {first, second, third}) fake.engine->Cancel(*id);
  fake.engine->Cancel(12345);
  EXPECT_FALSE(fake.engine->Step());
  EXPECT_EQ(fake.engine->stats().scheduler.num_used_blocks, 0);
  EXPECT_EQ(fake.engine->stats().num_active, 0);
  EXPECT_EQ(a[2].finish, FinishReason::kCancelled);
  EXPECT_EQ(b[0].finish, FinishReason::kCancelled);
  EXPECT_TRUE(waiting[0].ended);
}

TEST(Engine, AFullQueueRefuses) {
  Fake fake({.max_running = 1, .max_waiting = 2});
  std::vector<Outcome> a(1), b(1), c(1);
  EXPECT_TRUE(fake.engine->Submit({.prompt = {1}, .max_new_tokens = 3}, Into(a)));
  EXPECT_TRUE(fake.engine->Submit({.prompt = {1}, .max_new_tokens = 3}, Into(b)));
  EXPECT_FALSE(fake.engine->Submit({.prompt = {1}, .max_new_tokens = 3}, Into(c)));
  fake.engine->Step();
  EXPECT_TRUE(fake.engine->Submit({.prompt = {1}, .max_new_tokens = 3}, Into(c))) << "one of them runs now";
  fake.RunAll();
  EXPECT_EQ(c[0].tokens.size(), 3u);
}

TEST(Engine, RefusesWhatTheCacheCouldNotHoldAlone) {
  Fake fake({}, Mixed, 4);
  std::vector<Outcome> a(1);
  EXPECT_THROW(fake.engine->Submit({.prompt = std::vector<int32_t>(200, 1), .max_new_tokens = 100}, Into(a)), UserError);
  fake.engine->Submit({.prompt = std::vector<int32_t>(200, 1), .max_new_tokens = 57}, Into(a));
  fake.RunAll();
  EXPECT_EQ(a[0].tokens.size(), 57u);
}

TEST(Engine, GivesLogprobsOfThePromptAlsoWithoutAnAnswer) {
  Fake fake({.tokens_per_step = 100});
  const std::vector<int32_t> prompt = [] { auto tokens = Alone({1}, 299); tokens.insert(tokens.begin(), 1); return tokens; }();
  for (const int64_t most_new : {0, 2}) {
    std::vector<TokenLogprob> logprobs;
    int64_t num_new = 0;
    FinishReason finish = FinishReason::kNone;
    const GenerationRequest request{.prompt = prompt, .max_new_tokens = most_new, .num_prompt_logprobs = 1};
    GenerateOn(*fake.engine, request, [&](const Delta& delta) {
      logprobs.insert(logprobs.end(), delta.prompt_logprobs.begin(), delta.prompt_logprobs.end());
      num_new += std::ssize(delta.tokens);
      finish = delta.finish;
      return true;
    });
    ASSERT_EQ(logprobs.size(), prompt.size() - 1);
    for (size_t i = 0; i < logprobs.size(); ++i) {
      EXPECT_EQ(logprobs[i].token, prompt[i + 1]);
      EXPECT_EQ(logprobs[i].top[0].first, prompt[i + 1]) << "the rule's own text";
    }
    EXPECT_EQ(num_new, most_new);
    EXPECT_EQ(finish, FinishReason::kLength);
  }
}

TEST(EngineThread, ServesRequestsFromManyThreadsWithCancelsAtAnyMoment) {
  auto made = std::make_unique<FakeRunner>(257, Mixed, 60);
  Engine engine(std::move(made), std::make_shared<ByteTokenizer>(), {.context_length = 3000, .max_running = 8, .tokens_per_step = 64});
  {
    EngineThread thread(engine, 1);
    std::vector<std::thread> clients;
    std::atomic<int> num_right = 0, num_ended = 0;
    for (int t = 0; t < 4; ++t) {
      clients.emplace_back([&, t] {
        std::mt19937 random(static_cast<uint32_t>(t));
        for (int i = 0; i < 25; ++i) {
          const std::vector<int32_t> prompt(1 + random() % 150, t);
          const int64_t count = 1 + static_cast<int64_t>(random() % 60);
          auto tokens = std::make_shared<std::vector<int32_t>>();
          std::promise<void> done;
          const auto id = engine.Submit({.prompt = prompt, .max_new_tokens = count},
                                        {.on_delta = [tokens](const Delta& delta) {
                                           tokens->insert(tokens->end(), delta.tokens.begin(), delta.tokens.end());
                                           return true;
                                         },
                                         .on_end = [&](const Timings&, const std::exception_ptr&) {
                                           ++num_ended;
                                           done.set_value();
                                         }});
          const bool cancel = i % 5 == 0;
          if (cancel) engine.Cancel(*id);
          done.get_future().wait();
          if (cancel || *tokens == Alone(prompt, count)) ++num_right;
        }
      });
    }
    for (std::thread& client : clients) client.join();
    EXPECT_EQ(num_right, 100);
    EXPECT_EQ(num_ended, 100);
  }
  EXPECT_EQ(engine.stats().scheduler.num_used_blocks, 0);
}

}  // namespace
}  // namespace fathom
