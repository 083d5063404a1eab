#include "serve/embeddings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <thread>

#include "serve/http_client.h"
#include "serve/served_fake.h"

namespace fathom {
namespace {

using ::testing::HasSubstr;

TEST(Embeddings, GiveEachInputItsVectorInOrder) {
  ServedFake fake;  // a vector: how many tokens, their sum, the last one, the pooling
  HttpClient client(fake.port());
  const HttpAnswer answer = client.Post("/v1/embeddings", {{"model", "fake"}, {"input", {"ab", "c"}}});
  ASSERT_EQ(answer.status, 200) << answer.body;
  const Json json = answer.json();
  EXPECT_EQ(json["object"], "list");
  EXPECT_EQ(json["data"][0], Json({{"object", "embedding"}, {"index", 0}, {"embedding", {2.0, 195.0, 98.0, 0.0}}}));
  EXPECT_EQ(json["data"][1], Json({{"object", "embedding"}, {"index", 1}, {"embedding", {1.0, 99.0, 99.0, 0.0}}}));
  EXPECT_EQ(json["usage"], Json({{"prompt_tokens", 3}, {"total_tokens", 3}}));
  EXPECT_EQ(client.Post("/v1/embeddings", {{"input", {5, 6, 7}}, {"pooling", "last"}}).json()["data"][0]["embedding"], Json({3.0, 18.0, 7.0, 1.0}));
}

TEST(Embeddings, ComeAsBase64AndShorter) {
  ServedFake fake;
  HttpClient client(fake.port());
  const Json json = client.Post("/v1/embeddings", {{"input", "ab"}, {"encoding_format", "base64"}}).json();
  EXPECT_EQ(json["data"][0]["embedding"], "AAAAQAAAQ0MAAMRCAAAAAA==");  // 2, 195, 98, 0 as little-endian float32
  const Json shorter = client.Post("/v1/embeddings", {{"input", "ab"}, {"dimensions", 2}}).json()["data"][0]["embedding"];
  ASSERT_EQ(shorter.size(), 2u);
  EXPECT_NEAR(std::hypot(shorter[0].get<double>(), shorter[1].get<double>()), 1.0, 1e-6);
  EXPECT_EQ(Base64(""), "");
  EXPECT_EQ(Base64("f"), "Zg==");
  EXPECT_EQ(Base64("fo"), "Zm8=");
  EXPECT_EQ(Base64("foo"), "Zm9v");
}

TEST(Embeddings, RefuseWhatIsWrong) {
  ServedFake fake;
  HttpClient client(fake.port());
  const auto refusal = [&](const Json& body) {
    const HttpAnswer answer = client.Post("/v1/embeddings", body);
    EXPECT_EQ(answer.status, 400) << body;
    return answer.json()["error"]["message"].get<std::string>();
  };
  EXPECT_THAT(refusal(Json::object()), HasSubstr("'input' is missing"));
  EXPECT_THAT(refusal({{"input", ""}}), HasSubstr("empty"));
  EXPECT_THAT(refusal({{"input", Json::array()}}), HasSubstr("'input' must be"));
  EXPECT_THAT(refusal({{"input", {1, 999999}}}), HasSubstr("999999"));
  EXPECT_THAT(refusal({{"input", std::string(3000, 'a')}}), HasSubstr("context is 2000"));
  EXPECT_THAT(refusal({{"input", "a"}, {"encoding_format", "int8"}}), HasSubstr("float or base64"));
  EXPECT_THAT(refusal({{"input", "a"}, {"pooling", "max"}}), HasSubstr("mean or last"));
  EXPECT_THAT(refusal({{"input", "a"}, {"dimensions", 5}}), HasSubstr("at most the model's 4"));
  EXPECT_EQ(client.Post("/v1/embeddings", {{"input", "a"}, {"model", "other"}}).status, 404);
}

TEST(Embeddings, AreRefusedWhileTooMuchWaits) {
  ServedFakeOptions options;
  options.engine.max_waiting = 2;
  options.starts_engine = false;
  ServedFake fake(options);
  HttpClient client(fake.port());
  std::atomic<int> num_done = 0;
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(fake.engine->RunBetweenSteps([&](StepRunner&) { ++num_done; }));
  EXPECT_FALSE(fake.engine->RunBetweenSteps([](StepRunner&) {}));
  EXPECT_EQ(client.Post("/v1/embeddings", {{"input", "a"}}).status, 429);
  fake.StartEngine();
  while (num_done < 2) std::this_thread::yield();
  EXPECT_EQ(client.Post("/v1/embeddings", {{"input", "a"}}).status, 200);
}

}  // namespace
}  // namespace fathom
