// Structured answers and forced calls through the server. The fake model says what its prompt asks for wherever the grammar lets it, and the lowest byte elsewhere.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "engine/schema_validator.h"
#include "serve/http_client.h"
#include "serve/served_fake.h"

namespace fathom {
namespace {

using ::testing::HasSubstr;

Json Chat(const std::string& says, const Json& more) {
  Json request = {{"model", "fake"}, {"messages", {{{"role", "user"}, {"content", "say " + says}}}}, {"temperature", 0}, {"max_tokens", 300}};
  request.update(more);
  return request;
}

std::string ContentOf(const HttpAnswer& answer) {
  EXPECT_EQ(answer.status, 200) << answer.body;
  return answer.json()["choices"][0]["message"]["content"].get<std::string>();
}

Json Tool(const std::string& name, Json parameters, bool is_strict = false) {
  Json function = {{"name", name}, {"parameters", std::move(parameters)}};
  if (is_strict) function["strict"] = true;
  return {{"type", "function"}, {"function", std::move(function)}};
}

const Json& CityParameters() {
  static const Json kParameters = {{"type", "object"}, {"properties", {{"city", {{"type", "string"}, {"maxLength", 8}}}}}, {"required", {"city"}}, {"additionalProperties", false}};
  return kParameters;
}

TEST(Structured, EveryFieldThatAsksForAFormGetsIt) {
  ServedFake fake;
  HttpClient client(fake.port());
  const Json schema = {{"type", "object"}, {"properties", {{"a", {{"type", "integer"}}}, {"b", {{"enum", {"x", "y"}}}}}}, {"required", {"a", "b"}}};
  const std::string said = R"({"a": 12, "b": "y"})";
  for (const Json& more : std::vector<Json>{{{"response_format", {{"type", "json_schema"}, {"json_schema", {{"name", "n"}, {"strict", true}, {"schema", schema}}}}}},
                                            {{"response_format", {{"type", "json_object"}, {"schema", schema}}}}, {{"response_format", {{"type", "json_object"}}}},
                                            {{"structured_outputs", {{"json", schema}}}}, {{"structured_outputs", {{"json", schema.dump()}}}}, {{"guided_json", schema}}, {{"json_schema", schema}}}) {
    EXPECT_EQ(ContentOf(client.Post("/v1/chat/completions", Chat(said, more))), said) << more;
    const std::string forced = ContentOf(client.Post("/v1/chat/completions", Chat("{no thanks", more)));
    const OrderedJson value = OrderedJson::parse(forced, nullptr, false);
    if (value.is_discarded()) continue;  // cut at its length
    EXPECT_TRUE(value.is_object()) << forced;
  }
  const auto content = [&](const std::string& says, const Json& more) { return ContentOf(client.Post("/v1/chat/completions", Chat(says, more))); };
  EXPECT_EQ(content("hello there", {{"structured_outputs", {{"regex", "[a-z]{3}"}}}}), "hel");
  EXPECT_EQ(content("hello there", {{"guided_regex", "[a-z]{3}"}}), "hel");
  EXPECT_EQ(content("maybe", {{"structured_outputs", {{"choice", {"yes", "maybe not", "no"}}}}}), "maybe not");
  EXPECT_EQ(content("no", {{"guided_choice", {"yes", "no"}}}), "no");
  EXPECT_EQ(content("1+2=3", {{"grammar", "root ::= n \"+\" n\nn ::= [0-9]\n"}}), "1+2");
  EXPECT_EQ(content("1+2=3", {{"guided_grammar", "root ::= [0-9]\n"}}), "1");
  EXPECT_EQ(content("anything", {{"response_format", {{"type", "text"}}}}), "anything");
  const Json completion = client.Post("/completion", {{"prompt", "say hello\x01"}, {"temperature", 0}, {"grammar", "root ::= [a-z]{2}"}}).json();
  EXPECT_EQ(completion["content"], "he");
  EXPECT_EQ(client.Post("/v1/completions", {{"prompt", "say hello\x01"}, {"temperature", 0}, {"structured_outputs", {{"regex", "[a-z]{4}"}}}}).json()["choices"][0]["text"], "hell");
  const Json message = client.Post("/v1/messages", {{"model", "fake"}, {"max_tokens", 50}, {"temperature", 0}, {"messages", {{{"role", "user"}, {"content", "say 77"}}}},
                                                    {"output_format", {{"type", "json_schema"}, {"schema", {{"type", "integer"}, {"maximum", 9}, {"minimum", 0}}}}}}).json();
  EXPECT_EQ(message["content"][0]["text"], "7") << message;
}

TEST(Structured, ABadFormIsA400ThatNamesItsField) {
  ServedFake fake;
  HttpClient client(fake.port());
  const auto refuse = [&](const Json& more, const std::string& param, const std::string& message) {
    const HttpAnswer answer = client.Post("/v1/chat/completions", Chat("x", more));
    EXPECT_EQ(answer.status, 400) << more.dump().substr(0, 200) << answer.body.substr(0, 300);
    if (answer.status != 400) return;
    EXPECT_EQ(answer.json()["error"]["param"], param) << answer.body;
    EXPECT_THAT(answer.json()["error"]["message"].get<std::string>(), HasSubstr(message));
    EXPECT_EQ(answer.json()["error"]["type"], "invalid_request_error");
  };
  const auto format = [](const Json& schema) -> Json { return {{"response_format", {{"type", "json_schema"}, {"json_schema", {{"name", "n"}, {"schema", schema}}}}}}; };
  refuse({{"response_format", {{"type", "yaml"}}}}, "response_format", "text, json_object or json_schema");
  refuse({{"response_format", {{"type", "json_schema"}}}}, "response_format", "json_schema' is missing");
  refuse(format({{"type", "thing"}}), "response_format", "type 'thing'");
  refuse(format({{"not", Json::object()}}), "response_format", "'not'");
  refuse(format({{"type", "string"}, {"pattern", "("}}), "response_format", "regular expression");
  refuse(format({{"$ref", "#"}}), "response_format", "lets no text");
  refuse({{"structured_outputs", {{"regex", "(a"}}}}, "structured_outputs.regex", "a ( without its )");
  refuse({{"structured_outputs", {{"choice", Json::array()}}}}, "structured_outputs.choice", "1 to 1000 texts");
  refuse({{"grammar", "root ::= missing"}}, "grammar", "not understood");
  refuse({{"grammar", "root ::= \"a\""}, {"guided_regex", "b"}}, "grammar", "give one");
  refuse({{"guided_json", "{not json"}}, "guided_json", "guided_json");
  refuse({{"tool_choice", "required"}}, "tool_choice", "there are no 'tools'");
  refuse({{"tools", {Tool("get", CityParameters())}}, {"tool_choice", {{"type", "function"}, {"function", {{"name", "other"}}}}}}, "tool_choice", "not among the tools");
  refuse({{"tools", {Tool("get", {{"type", "object"}, {"not", Json::object()}}, true)}}, {"tool_choice", "required"}}, "tools[0].function.parameters", "'not'");
  std::string deep = "{}";
  for (int i = 0; i < 100; ++i) deep = R"({"type": "array", "items": )" + deep + "}";
  refuse(format(Json::parse(deep)), "response_format", "nests more than 64");
  const HttpAnswer message = client.Post("/v1/messages", {{"model", "fake"}, {"max_tokens", 5}, {"messages", {{{"role", "user"}, {"content", "say 77"}}}},
                                                          {"output_format", {{"type", "json_schema"}, {"schema", {{"$ref", "#"}}}}}});
  EXPECT_EQ(message.status, 400);
  EXPECT_EQ(message.json()["error"]["type"], "invalid_request_error") << message.body;
}

TEST(Structured, AForcedCallIsOneInTheModelsFormat) {
  ServedFake fake;
  HttpClient client(fake.port());
  const Json tools = {Tool("get_weather", CityParameters()), Tool("tell", {{"type", "object"}, {"properties", Json::object()}})};
  const auto calls = [&](const std::string& says, Json more) {
    more["tools"] = tools;
    const Json json = client.Post("/v1/chat/completions", Chat(says, more)).json();
    EXPECT_EQ(json["choices"][0]["finish_reason"], "tool_calls") << json;
    EXPECT_TRUE(json["choices"][0]["message"]["content"].is_null()) << json;
    return json["choices"][0]["message"]["tool_calls"];
  };
  // The model would rather talk.
  Json made = calls("no call, thanks", {{"tool_choice", "required"}, {"parallel_tool_calls", false}});
  ASSERT_GE(made.size(), 1u);
  EXPECT_THAT(made[0]["function"]["name"].get<std::string>(), ::testing::AnyOf("get_weather", "tell"));
  made = calls("no call, thanks", {{"tool_choice", {{"type", "function"}, {"function", {{"name", "get_weather"}}}}}});
  ASSERT_EQ(made.size(), 1u);
  EXPECT_EQ(made[0]["function"]["name"], "get_weather");
  const OrderedJson arguments = OrderedJson::parse(made[0]["function"]["arguments"].get<std::string>());
  EXPECT_EQ(Violation(OrderedJson(CityParameters()), arguments, OrderedJson(CityParameters())), "") << arguments;
  // It calls as it likes where that fits: two calls, or one where only one may be. A marker in a string is text.
  // (What the fake says ends at a line's end: where those must be it says something else, and the grammar puts them right.)
  const std::string two = "<tool_call>~{\"name\": \"get_weather\", \"arguments\": {\"city\": \"</t>\"}}~</tool_call>~<tool_call>~{\"name\": \"tell\", \"arguments\": {}}~</tool_call>";
  made = calls(two, {{"tool_choice", "required"}});
  ASSERT_EQ(made.size(), 2u);
  EXPECT_EQ(made[0]["function"]["arguments"], R"({"city": "</t>"})");
  EXPECT_EQ(made[1]["function"]["arguments"], "{}");
  EXPECT_EQ(calls(two, {{"tool_choice", "required"}, {"parallel_tool_calls", false}}).size(), 1u);
}

TEST(Structured, AForcedCallStreamsItsArgumentsAndNothingElse) {
  ServedFake fake;
  HttpClient client(fake.port());
  Json request = Chat("nothing", {{"tools", {Tool("get", CityParameters())}}, {"tool_choice", "required"}, {"stream", true}, {"parallel_tool_calls", false}});
  std::string name, arguments;
  for (const Json& event : client.Post("/v1/chat/completions", request).Events()) {
    const Json& delta = event["choices"][0]["delta"];
    EXPECT_TRUE(!delta.contains("content") || delta["content"].is_null() || delta["content"] == "") << delta;
    if (!delta.contains("tool_calls")) continue;
    const Json& function = delta["tool_calls"][0]["function"];
    if (function.contains("name")) name += function["name"].get<std::string>();
    arguments += function["arguments"].get<std::string>();
  }
  EXPECT_EQ(name, "get");
  EXPECT_EQ(Violation(OrderedJson(CityParameters()), OrderedJson::parse(arguments), OrderedJson(CityParameters())), "") << arguments;
}

TEST(Structured, AnthropicsChoicesForceCallsToo) {
  ServedFake fake;
  HttpClient client(fake.port());
  const Json tools = {{{"name", "get"}, {"input_schema", CityParameters()}}, {{"name", "tell"}, {"input_schema", CityParameters()}}};
  for (const Json& choice : std::vector<Json>{{{"type", "any"}, {"disable_parallel_tool_use", true}}, {{"type", "tool"}, {"name", "get"}}}) {
    const Json json = client.Post("/v1/messages", {{"model", "fake"}, {"max_tokens", 300}, {"temperature", 0}, {"messages", {{{"role", "user"}, {"content", "say no"}}}}, {"tools", tools},
                                                   {"tool_choice", choice}}).json();
    ASSERT_EQ(json["stop_reason"], "tool_use") << json;
    ASSERT_EQ(json["content"].size(), 1u) << json;
    EXPECT_EQ(json["content"][0]["type"], "tool_use");
    if (choice["type"] == "tool") EXPECT_TRUE(json["content"][0]["name"] == "get" && json["content"][0]["input"].contains("city")) << json;
  }
}

TEST(Structured, AStrictFunctionsArgumentsKeepTheirSchemaWhereTheModelCallsByItself) {
  ServedFake fake;
  HttpClient client(fake.port());
  const Json more = {{"tools", {Tool("get", CityParameters(), true)}}};
  EXPECT_EQ(ContentOf(client.Post("/v1/chat/completions", Chat("free text <b>", more))), "free text <b>");
  const Json json = client.Post("/v1/chat/completions", Chat("<tool_call>\n{\"name\": \"get\", \"arguments\": {\"town\": 3}}\n</tool_call>", more)).json();
  const Json& calls = json["choices"][0]["message"]["tool_calls"];
  ASSERT_TRUE(calls.is_array() && calls.size() == 1) << json;
  const OrderedJson arguments = OrderedJson::parse(calls[0]["function"]["arguments"].get<std::string>());
  EXPECT_EQ(Violation(OrderedJson(CityParameters()), arguments, OrderedJson(CityParameters())), "") << arguments;
}

TEST(Structured, FreeAndFormedAnswersRunBesideEachOther) {
  ServedFake fake;
  std::vector<std::thread> threads;
  std::vector<std::string> said(16);
  for (size_t i = 0; i < said.size(); ++i) {
    threads.emplace_back([&, i] {
      HttpClient client(fake.port());
      said[i] = ContentOf(client.Post("/v1/chat/completions", Chat("word" + std::to_string(i), i % 2 == 0 ? Json::object() : Json{{"guided_regex", fmt::format("[a-z]{{{}}}", 1 + i % 4)}})));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < said.size(); ++i) EXPECT_EQ(said[i], i % 2 == 0 ? "word" + std::to_string(i) : std::string("word").substr(0, 1 + i % 4)) << i;
}

TEST(Structured, AHostileGrammarFailsAloneAndInTime) {
  ServedFake fake;
  HttpClient client(fake.port());
  std::string chain = "root ::= a0\n";
  for (int i = 0; i < 3000; ++i) chain += fmt::format("a{} ::= a{} a{} | a{} \"x\" | \"\"\n", i, i + 1, i + 1, (i * 7) % 3000);
  chain += "a3000 ::= \"z\" | a0\n";
  const HttpAnswer answer = client.Post("/v1/chat/completions", Chat("x", {{"grammar", chain}, {"max_tokens", 40}}));
  EXPECT_NE(answer.status, 500) << answer.body;
  EXPECT_EQ(ContentOf(client.Post("/v1/chat/completions", Chat("fine", Json::object()))), "fine");
}

}  // namespace
}  // namespace fathom
