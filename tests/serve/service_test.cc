#include "serve/service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "serve/http_client.h"
#include "serve/served_fake.h"

namespace fathom {
namespace {

using ::testing::HasSubstr;

Json Chat(const std::string& says) {
  return {{"model", "fake"}, {"messages", {{{"role", "user"}, {"content", "say " + says}}}}, {"temperature", 0}};
}

// Joins a field of the first choice's deltas.
std::string Joined(const std::vector<Json>& events, const char* field) {
  std::string text;
  for (const Json& event : events) {
    if (event["choices"].empty()) continue;
    const Json& delta = event["choices"][0]["delta"];
    if (delta.contains(field) && delta[field].is_string()) text += delta[field].get<std::string>();
  }
  return text;
}

TEST(Service, AnswersAChat) {
  ServedFake fake;
  HttpClient client(fake.port());
  const HttpAnswer answer = client.Post("/v1/chat/completions", Chat("hello there"));
  ASSERT_EQ(answer.status, 200) << answer.body;
  const Json json = answer.json();
  EXPECT_EQ(json["object"], "chat.completion");
  EXPECT_EQ(json["model"], "fake");
  EXPECT_EQ(json["choices"][0]["message"], Json({{"role", "assistant"}, {"content", "hello there"}}));
  EXPECT_EQ(json["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(json["usage"]["prompt_tokens"], std::string("user:say hello there\nassistant\x01").size());
  EXPECT_EQ(json["usage"]["completion_tokens"], 12);
  EXPECT_EQ(answer.Header("access-control-allow-origin"), "*");
  EXPECT_EQ(answer.Header("x-request-id").size(), 32u);
}

TEST(Service, StreamsAChatWithUsageAndDone) {
  ServedFake fake;
  HttpClient client(fake.port());
  Json request = Chat("hello");
  request["stream"] = true;
  request["stream_options"] = {{"include_usage", true}};
  const HttpAnswer answer = client.Post("/v1/chat/completions", request);
  EXPECT_EQ(answer.Header("content-type"), "text/event-stream; charset=utf-8");
  const std::vector<Json> events = answer.Events();
  EXPECT_EQ(events[0]["choices"][0]["delta"]["role"], "assistant");
  EXPECT_EQ(Joined(events, "content"), "hello");
  EXPECT_EQ(events[events.size() - 2]["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(events.back()["usage"]["completion_tokens"], 6);
  EXPECT_TRUE(events.back()["choices"].empty());
  EXPECT_EQ(client.Post("/v1/chat/completions", Chat("again")).json()["choices"][0]["message"]["content"], "again") << "the connection goes on";
}

TEST(Service, StopsAtAStopStringAndAtTheLength) {
  ServedFake fake;
  HttpClient client(fake.port());
  Json request = Chat("one two three");
  request["stop"] = " t";
  EXPECT_EQ(client.Post("/v1/chat/completions", request).json()["choices"][0]["message"]["content"], "one");
  request = Chat("one two three");
  request["max_completion_tokens"] = 3;
  const Json json = client.Post("/v1/chat/completions", request).json();
  EXPECT_EQ(json["choices"][0]["message"]["content"], "one");
  EXPECT_EQ(json["choices"][0]["finish_reason"], "length");
}

TEST(Service, GivesSeveralAnswersAndLogprobs) {
  ServedFake fake;
  HttpClient client(fake.port());
  Json request = Chat("ab");
  request.update({{"n", 3}, {"logprobs", true}, {"top_logprobs", 2}});
  const Json json = client.Post("/v1/chat/completions", request).json();
  ASSERT_EQ(json["choices"].size(), 3u);
  EXPECT_EQ(json["choices"][2]["index"], 2);
  const Json& content = json["choices"][1]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 3u);
  EXPECT_EQ(content[0]["token"], "a");
  EXPECT_EQ(content[0]["bytes"], Json({97}));
  EXPECT_EQ(content[0]["top_logprobs"].size(), 2u);
  EXPECT_EQ(json["usage"]["completion_tokens"], 9);
}

TEST(Service, ALogitBiasForbidsAndForces) {
  ServedFake fake;
  HttpClient client(fake.port());
  Json request = Chat("ab");
  request["logit_bias"] = {{"97", -100}, {"122", 5}};
  EXPECT_EQ(client.Post("/v1/chat/completions", request).json()["choices"][0]["message"]["content"].get<std::string>()[0], 'z');
}

TEST(Service, CompletesPromptsOfEveryKind) {
  ServedFake fake;
  HttpClient client(fake.port());
  const auto complete = [&](const Json& prompt, Json more = Json::object()) {
    Json request = {{"model", "alias"}, {"prompt", prompt}, {"temperature", 0}};
    request.update(more);
    const HttpAnswer answer = client.Post("/v1/completions", request);
    EXPECT_EQ(answer.status, 200) << answer.body;
    return answer.json();
  };
  EXPECT_EQ(complete("say hi\x01")["choices"][0]["text"], "hi");
  const Json two = complete({"say hi\x01", "say ho\x01"}, {{"n", 2}});
  ASSERT_EQ(two["choices"].size(), 4u);
  EXPECT_EQ(two["choices"][1]["text"], "hi");
  EXPECT_EQ(two["choices"][2]["text"], "ho");
  const std::string text = "say ids\x01";
  const std::vector<int> ids(text.begin(), text.end());
  EXPECT_EQ(complete(ids)["choices"][0]["text"], "ids");
  EXPECT_EQ(complete(Json::array({ids, ids}))["choices"][1]["text"], "ids");
  EXPECT_EQ(complete("say hi\x01", {{"echo", true}})["choices"][0]["text"], "say hi\x01hi");
}

TEST(Service, EchoGivesLogprobsOfThePromptAsEvaluationHarnessesReadThem) {
  ServedFake fake;
  HttpClient client(fake.port());
  for (const int most : {0, 1}) {
    const Json request = {{"prompt", "say hi\x01"}, {"temperature", 0}, {"echo", true}, {"logprobs", 1}, {"max_tokens", most}};
    const Json json = client.Post("/v1/completions", request).json();
    const Json& logprobs = json["choices"][0]["logprobs"];
    ASSERT_EQ(logprobs["tokens"].size(), 7u + static_cast<size_t>(most));
    EXPECT_TRUE(logprobs["token_logprobs"][0].is_null());
    EXPECT_TRUE(logprobs["top_logprobs"][0].is_null());
    EXPECT_LT(logprobs["token_logprobs"][3].get<double>(), 0);
    EXPECT_EQ(logprobs["text_offset"][6], 6);
    EXPECT_EQ(json["usage"]["completion_tokens"], most);
  }
}

TEST(Service, PartsThoughtAndToolCallsWhileStreaming) {
  ServedFake fake;
  HttpClient client(fake.port());
  Json request = Chat("<tool_call>{\"name\": \"get\", \"arguments\": {\"city\": \"Rome\"}}</tool_call>");
  request["tools"] = {{{"type", "function"}, {"function", {{"name", "get"}, {"parameters", Json::object()}}}}};
  const Json whole = client.Post("/v1/chat/completions", request).json();
  EXPECT_EQ(whole["choices"][0]["finish_reason"], "tool_calls");
  EXPECT_TRUE(whole["choices"][0]["message"]["content"].is_null());
  EXPECT_EQ(whole["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"], "{\"city\": \"Rome\"}");
  request["stream"] = true;
  std::string arguments, name;
  for (const Json& event : client.Post("/v1/chat/completions", request).Events()) {
    const Json& delta = event["choices"][0]["delta"];
    EXPECT_TRUE(!delta.contains("content") || delta["content"] == "");
    if (!delta.contains("tool_calls")) continue;
    const Json& function = delta["tool_calls"][0]["function"];
    if (function.contains("name")) name += function["name"].get<std::string>();
    arguments += function["arguments"].get<std::string>();
  }
  EXPECT_EQ(name, "get");
  EXPECT_EQ(arguments, "{\"city\": \"Rome\"}");
}

TEST(Service, SpeaksToLlamaCppsClients) {
  ServedFake fake;
  HttpClient client(fake.port());
  const Json whole = client.Post("/completion", {{"prompt", "say hello\x01"}, {"n_predict", 20}, {"temperature", 0}, {"stop", {"lo"}}}).json();
  EXPECT_EQ(whole["content"], "hel");
  EXPECT_EQ(whole["stop_type"], "word");
  EXPECT_EQ(whole["stopping_word"], "lo");
  const HttpAnswer stream = client.Post("/completion", {{"prompt", "say hello\x01"}, {"stream", true}, {"temperature", 0}});
  std::string text;
  for (const Json& event : stream.Events(/*with_done=*/false)) text += event["content"].get<std::string>();
  EXPECT_EQ(text, "hello");
  EXPECT_EQ(client.Post("/tokenize", {{"content", "ab"}}).json()["tokens"], Json({97, 98}));
  EXPECT_EQ(client.Post("/tokenize", {{"prompt", "ab"}}).json()["count"], 2);
  EXPECT_EQ(client.Post("/detokenize", {{"tokens", {97, 98}}}).json()["content"], "ab");
  EXPECT_EQ(client.Post("/apply-template", {{"messages", Chat("x")["messages"]}}).json()["prompt"], "user:say x\nassistant\x01");
  EXPECT_EQ(client.Get("/props").json()["default_generation_settings"]["n_ctx"], 2000);
  EXPECT_EQ(client.Post("/generate", {{"prompt", "say yes\x01"}, {"temperature", 0}}).json()["text"], "yes");
}

TEST(Service, SpeaksToAnthropicsClients) {
  ServedFake fake;
  HttpClient client(fake.port());
  Json request = {{"model", "fake"}, {"max_tokens", 30}, {"temperature", 0}, {"system", "be kind"},
                  {"messages", {{{"role", "user"}, {"content", {{{"type", "text"}, {"text", "say hello"}}}}}}}};
  const Json whole = client.Post("/v1/messages", request).json();
  EXPECT_EQ(whole["type"], "message");
  EXPECT_EQ(whole["content"], Json::array({{{"type", "text"}, {"text", "hello"}}}));
  EXPECT_EQ(whole["stop_reason"], "end_turn");
  EXPECT_EQ(whole["usage"]["output_tokens"], 6);
  EXPECT_EQ(client.Post("/v1/messages/count_tokens", request).json()["input_tokens"], std::string("system:be kind\nuser:say hello\nassistant\x01").size());
  request["stop_sequences"] = {"ll"};
  EXPECT_EQ(client.Post("/v1/messages", request).json()["stop_sequence"], "ll");
  request["stop_sequences"] = nullptr;
  request["messages"][0]["content"] = "say Look.<tool_call>{\"name\": \"get\", \"arguments\": {\"a\": 1}}</tool_call>";
  request["max_tokens"] = 100;
  request["tools"] = {{{"name", "get"}, {"input_schema", {{"type", "object"}}}}};
  const Json called = client.Post("/v1/messages", request).json();
  EXPECT_EQ(called["stop_reason"], "tool_use");
  EXPECT_EQ(called["content"][1]["input"], Json({{"a", 1}}));
  request["stream"] = true;
  const HttpAnswer stream = client.Post("/v1/messages", request);
  std::string types, arguments;
  for (size_t at = stream.body.find("data: "); at != std::string::npos; at = stream.body.find("data: ", at + 1)) {
    const Json event = Json::parse(stream.body.substr(at + 6, stream.body.find('\n', at) - at - 6));
    const std::string type = event["type"];
    if (types.size() < type.size() || types.substr(types.size() - type.size()) != type) types += " " + type;
    if (type == "content_block_delta" && event["delta"]["type"] == "input_json_delta") arguments += event["delta"]["partial_json"].get<std::string>();
  }
  EXPECT_EQ(types, " message_start content_block_start content_block_delta content_block_stop content_block_start content_block_delta content_block_stop"
                   " message_delta message_stop");
  EXPECT_EQ(arguments, "{\"a\": 1}");
  request.erase("max_tokens");
  const HttpAnswer refused = client.Post("/v1/messages", request);
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(refused.json()["type"], "error");
  EXPECT_THAT(refused.json()["error"]["message"].get<std::string>(), HasSubstr("'max_tokens'"));
}

TEST(Service, TellsOfItself) {
  ServedFake fake;
  HttpClient client(fake.port());
  EXPECT_EQ(client.Get("/health").json()["status"], "ok");
  EXPECT_EQ(client.Get("/ready").status, 200);
  EXPECT_EQ(client.Get("/version").json()["version"], "1.2.3");
  EXPECT_EQ(client.Get("/v1/models").json()["data"][0]["id"], "fake");
  EXPECT_EQ(client.Get("/tokenizer_info").json()["model_max_length"], client.Get("/v1/models").json()["data"][0]["max_model_len"]);
  EXPECT_TRUE(client.Get("/tokenizer_info").json().contains("eos_token"));
  EXPECT_EQ(client.Get("/v1/models/alias").json()["id"], "alias");
  EXPECT_EQ(client.Get("/v1/models/other").status, 404);
  client.Post("/v1/chat/completions", Chat("hello"));
  const std::string metrics = client.Get("/metrics").body;
  for (const char* line : {"vllm:num_requests_running{engine=\"0\",model_name=\"fake\"} 0\n", "vllm:num_requests_waiting{", "vllm:kv_cache_usage_perc{",
                           "vllm:generation_tokens_total{engine=\"0\",model_name=\"fake\"} 6\n", "vllm:time_to_first_token_seconds_count{engine=\"0\",model_name=\"fake\"} 1\n",
                           "vllm:request_success_total{engine=\"0\",model_name=\"fake\",finished_reason=\"stop\"} 1\n"}) {
    EXPECT_THAT(metrics, HasSubstr(line));
  }
  fake.service->Drain();
  EXPECT_EQ(client.Get("/ready").status, 503);
  EXPECT_EQ(client.Get("/health").status, 200);
}

TEST(Service, BadRequestsAreRefusedInOpenAisShapeNamingTheField) {
  ServedFake fake;
  HttpClient client(fake.port());
  const auto refuse = [&](const std::string& path, const Json& body, int status, const std::string& what) {
    const HttpAnswer answer = client.Post(path, body);
    EXPECT_EQ(answer.status, status) << body.dump() << answer.body;
    const Json error = answer.json()["error"];
    EXPECT_TRUE(error.contains("type") && error.contains("param") && error.contains("code"));
    EXPECT_THAT(error["message"].get<std::string>(), HasSubstr(what)) << body.dump();
  };
  const auto with = [](Json more) {
    Json request = Chat("x");
    request.update(more);
    return request;
  };
  const std::string chat = "/v1/chat/completions";
  refuse(chat, "{", 400, "not valid JSON");
  refuse(chat, "[1]", 400, "must be a JSON object");
  refuse(chat, std::string(1000, '['), 400, "nested deeper");
  refuse(chat, "{\"a\": \"\xff\"}", 400, "not valid JSON");
  std::string many = "{";
  for (int i = 0; i < 3000; ++i) many += "\"k" + std::to_string(i) + "\":1,";
  refuse(chat, many + "\"x\":1}", 400, "more than 2048 keys");
  refuse(chat, Json::object(), 400, "'messages'");
  refuse(chat, with({{"model", "gpt-4"}}), 404, "'gpt-4' is not served here");
  refuse(chat, with({{"temperature", 3}}), 400, "'temperature' must be a number from 0 to 2, got 3");
  refuse(chat, with({{"temperature", "hot"}}), 400, "'temperature'");
  refuse(chat, with({{"top_p", -1}}), 400, "'top_p'");
  refuse(chat, with({{"n", 0}}), 400, "'n'");
  refuse(chat, with({{"n", 1000000}}), 400, "'n'");
  refuse(chat, with({{"max_tokens", 0}}), 400, "'max_tokens'");
  refuse(chat, with({{"max_tokens", 1.5}}), 400, "'max_tokens'");
  refuse(chat, with({{"seed", 1e300}}), 400, "'seed'");
  refuse(chat, with({{"stop", {1, 2}}}), 400, "'stop'");
  refuse(chat, with({{"logit_bias", {{"x", 1}}}}), 400, "'logit_bias'");
  refuse(chat, with({{"logit_bias", {{"5000", 1}}}}), 400, "'logit_bias'");
  refuse(chat, with({{"top_logprobs", 3}}), 400, "needs 'logprobs'");
  refuse(chat, with({{"tools", {1}}}), 400, "'tools'");
  refuse(chat, with({{"response_format", {{"type", "xml"}}}}), 400, "'response_format.type'");
  refuse(chat, with({{"messages", Json::array()}}), 400, "'messages'");
  refuse(chat, with({{"messages", {{{"role", "robot"}, {"content", "x"}}}}}), 400, "'messages[0].role'");
  refuse(chat, with({{"messages", {{{"role", "user"}}}}}), 400, "'messages[0].content'");
  refuse(chat, with({{"messages", {{{"role", "user"}, {"content", {{{"type", "image_url"}}}}}}}}), 400, "image_url");
  refuse("/v1/completions", {{"prompt", ""}}, 400, "empty");
  refuse("/v1/completions", {{"prompt", {1, 999}}}, 400, "999");
  refuse("/v1/completions", {{"prompt", {-1}}}, 400, "token ids");
  refuse("/v1/completions", {{"prompt", {{{"a", 1}}}}}, 400, "'prompt'");
  refuse("/v1/completions", {{"prompt", "x"}, {"suffix", "y"}}, 400, "middle");
  refuse("/v1/completions", {{"prompt", std::string(5000, 'x')}}, 400, "the model's context of 2000");
  refuse("/detokenize", {{"tokens", {300}}}, 400, "300");
  refuse("/nothing", Json::object(), 404, "/nothing");
  EXPECT_EQ(client.Get(chat).status, 405);
  EXPECT_EQ(client.Post("/v1/completions", {{"prompt", "say x\x01"}, {"unknown", {{"field", 1}}}}).status, 200) << "unknown fields are tolerated";
}

TEST(Service, KeysAreAskedFor) {
  ServedFakeOptions options;
  options.service.api_keys = {"alpha", "beta"};
  ServedFake fake(options);
  HttpClient client(fake.port());
  EXPECT_EQ(client.Get("/health").status, 200);
  EXPECT_EQ(client.Get("/v1/models").status, 401);
  EXPECT_EQ(client.Get("/v1/models", "Authorization: Bearer alphaX\r\n").status, 401);
  EXPECT_EQ(client.Get("/v1/models", "Authorization: Bearer \r\n").status, 401);
  EXPECT_EQ(client.Get("/v1/models", "Authorization: Bearer beta\r\n").status, 200);
  EXPECT_EQ(client.Get("/v1/models", "X-Api-Key: alpha\r\n").status, 200);
  EXPECT_EQ(client.Post("/v1/chat/completions", Chat("x")).json()["error"]["code"], "invalid_api_key");
}

TEST(Service, AFullQueueGives429AndSaysWhenToComeBack) {
  ServedFakeOptions options;
  options.engine.max_waiting = 1;
  options.starts_engine = false;
  ServedFake fake(options);
  HttpClient first(fake.port()), second(fake.port());
  first.SendRequest("POST", "/v1/chat/completions", Chat("one").dump());
  while (fake.engine->stats().num_waiting == 0) std::this_thread::yield();
  const HttpAnswer refused = second.Post("/v1/chat/completions", Chat("two"));
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.Header("retry-after"), "1");
  fake.StartEngine();
  EXPECT_EQ(first.Read()->json()["choices"][0]["message"]["content"], "one");
  EXPECT_EQ(second.Post("/v1/chat/completions", Chat("two")).status, 200);
}

TEST(Service, AClientThatLeavesFreesItsPlace) {
  ServedFake fake;
  for (const bool stream : {true, false}) {
    HttpClient client(fake.port());
    client.SendRequest("POST", "/v1/completions", Json({{"prompt", "#"}, {"max_tokens", 1900}, {"stream", stream}, {"temperature", 0}, {"n", 4}}).dump());
    if (stream) client.ReadUntil("data:");
    while (fake.engine->stats().num_active == 0) std::this_thread::yield();
    client.Close();
    while (fake.engine->stats().num_active > 0) std::this_thread::yield();
  }
  EXPECT_EQ(fake.engine->stats().scheduler.num_used_blocks, 0);
}

TEST(Service, ManyStreamsAtOnceEachGetTheirOwnText) {
  ServedFake fake;
  std::vector<std::unique_ptr<HttpClient>> clients;
  for (int i = 0; i < 128; ++i) {
    clients.push_back(std::make_unique<HttpClient>(fake.port()));
    Json request = Chat("number " + std::to_string(i * 7919) + std::string(static_cast<size_t>(i % 50), 'y'));
    request["stream"] = true;
    clients.back()->SendRequest("POST", "/v1/chat/completions", request.dump());
  }
  for (int i = 0; i < 128; ++i) {
    EXPECT_EQ(Joined(clients[static_cast<size_t>(i)]->Read()->Events(), "content"), "number " + std::to_string(i * 7919) + std::string(static_cast<size_t>(i % 50), 'y'));
  }
}

TEST(Service, ReadsKeysInATimeThatTheirTextDoesNotChange) {
  EXPECT_TRUE(IsKnownKey("beta", {"alpha", "beta"}));
  for (const char* given : {"", "alph", "alphaa", "alphaalpha", "betb"}) EXPECT_FALSE(IsKnownKey(given, {"alpha", "beta"})) << given;
}

}  // namespace
}  // namespace fathom
