#include "engine/schema_grammar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "base/error.h"
#include "base/utf8.h"
#include "engine/grammar_walk.h"
#include "engine/schema_validator.h"

namespace fathom {
namespace {

using ::testing::HasSubstr;

std::shared_ptr<const Grammar> CompileSchema(const OrderedJson& schema) {
  static const ByteTokenizer tokenizer;
  static GrammarCompiler compiler(tokenizer, 257, std::vector<int32_t>{ByteTokenizer::kEnd});
  EbnfWriter writer;
  const std::string root = SchemaToEbnf(schema, writer, "schema");
  return compiler.Compile({writer.Text(root)});
}

// Texts of the schema's grammar, each checked.
int CheckRandomTexts(const OrderedJson& schema, int count) {
  const auto grammar = CompileSchema(schema);
  int num_ended = 0;
  for (int seed = 0; seed < count; ++seed) {
    const Walk walk = RandomWalk(grammar, ByteTokenizer(), static_cast<uint64_t>(seed), 1500);
    if (!walk.has_ended) continue;
    ++num_ended;
    const OrderedJson value = OrderedJson::parse(walk.text, nullptr, false);
    EXPECT_FALSE(value.is_discarded()) << schema << "\n" << walk.text;
    if (value.is_discarded()) continue;
    EXPECT_EQ(Violation(schema, value, schema), "") << schema << "\n" << walk.text;
    EXPECT_TRUE(IsValidUtf8(walk.text));
  }
  return num_ended;
}

bool Takes(const OrderedJson& schema, const std::string& text) {
  GrammarMatcher matcher(CompileSchema(schema));
  for (const char c : text) {
    if (!matcher.Accept(static_cast<unsigned char>(c))) return false;
  }
  return matcher.MayEnd();
}

std::string ErrorOf(const std::string& schema) {
  try {
    CompileSchema(OrderedJson::parse(schema));
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(SchemaGrammar, TextsOfEveryKeywordSatisfyIt) {
  for (const char* text : {
           R"({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}, "required": ["a"]})",
           R"({"type": "object", "properties": {"name": {"type": "string"}, "n": {"type": "null"}}, "required": ["n"], "additionalProperties": {"type": "boolean"}})",
           R"({"type": "object", "additionalProperties": {"type": "integer"}})", R"({"type": "object", "required": ["x", "y"]})", R"({"type": "object"})",
           R"({"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "required": ["b"], "maxProperties": 3})",
           R"({"patternProperties": {"^[a-z]{1,3}$": {"type": "number"}}, "additionalProperties": false})", R"({"propertyNames": {"pattern": "^x"}, "additionalProperties": {"type": "null"}})",
           R"({"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4})", R"({"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "minItems": 1})",
           R"({"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "null"}, "minItems": 1, "maxItems": 3})", R"({"type": "array", "maxItems": 0})",
           R"({"type": "string", "minLength": 3, "maxLength": 5})", R"({"type": "string", "pattern": "^[^a-z]{2,3}.\\.$"})", R"({"type": "string", "pattern": "(\"|\\\\|\\n|\\t)+"})",
           R"({"enum": ["a\"b", 1, null, {"x": [1, 2]}, "é"]})", R"({"const": "only"})", R"({"type": "string", "enum": ["a", 3]})",
           R"({"anyOf": [{"type": "integer", "minimum": 5, "maximum": 120}, {"type": "string", "maxLength": 2}]})", R"({"type": ["integer", "null"], "minimum": 10, "maximum": 12})",
           R"({"allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"properties": {"b": {"type": "null"}}, "required": ["b"]}]})",
           R"({"$defs": {"node": {"type": "object", "properties": {"v": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}, "required": ["v", "next"]}}, "$ref": "#/$defs/node"})",
           R"({"type": "object", "properties": {"a": {"$ref": "#/$defs/small", "description": "said"}}, "required": ["a"], "$defs": {"small": {"type": "integer", "minimum": 0, "maximum": 9}}})",
           R"({"type": "object", "properties": {"k": {"type": "string"}}, "required": ["k"], "anyOf": [{"properties": {"x": {"const": 1}}, "required": ["x"]}, {"required": ["y"]}]})", "true", "{}"}) {
    EXPECT_GT(CheckRandomTexts(OrderedJson::parse(text), 25), 8) << text;
  }
}

TEST(SchemaGrammar, NumbersStayWithinTheirBounds) {
  std::mt19937_64 random(1);
  const auto bound = [&](int kind) -> OrderedJson {
    const double whole = std::uniform_int_distribution<int>(-200, 200)(random);
    return kind == 0 ? OrderedJson(static_cast<int>(whole)) : kind == 1 ? OrderedJson(whole / 8) : OrderedJson(whole / 1000);
  };
  for (int round = 0; round < 150; ++round) {
    OrderedJson schema = {{"type", random() % 2 == 0 ? "integer" : "number"}};
    const int kind = static_cast<int>(random() % 3);
    OrderedJson low = bound(kind), high = bound(kind);
    if (low.get<double>() > high.get<double>()) std::swap(low, high);
    if (random() % 4 != 0) schema[random() % 2 == 0 ? "minimum" : "exclusiveMinimum"] = low;
    if (random() % 4 != 0) schema[random() % 2 == 0 ? "maximum" : "exclusiveMaximum"] = high;
    try {
      EXPECT_GT(CheckRandomTexts(schema, 25), 20) << schema;
    } catch (const UserError& error) {
      EXPECT_THAT(error.what(), HasSubstr("lets no")) << schema;
      EXPECT_TRUE(schema["type"] == "integer" || low == high) << schema;
    }
  }
  EXPECT_TRUE(Takes({{"type", "number"}, {"minimum", 0}, {"maximum", 1}}, "0.75"));
  EXPECT_TRUE(Takes({{"type", "number"}, {"minimum", 0}, {"maximum", 1}}, "1.0"));
  EXPECT_FALSE(Takes({{"type", "number"}, {"minimum", 0}, {"maximum", 1}}, "1.01"));
  for (int i = -30; i <= 130; ++i) {
    EXPECT_EQ(Takes({{"type", "integer"}, {"minimum", -7}, {"maximum", 113}}, std::to_string(i)), i >= -7 && i <= 113) << i;
    EXPECT_EQ(Takes({{"type", "number"}, {"minimum", -0.25}, {"exclusiveMaximum", 0.75}}, fmt::format("{:.2f}", i / 100.0)), i >= -25 && i < 75) << i;
  }
}

OrderedJson RandomSchema(std::mt19937_64& random, int depth) {
  const auto below = [&](int most) { return static_cast<int>(random() % static_cast<uint64_t>(most)); };
  switch (below(depth > 2 ? 6 : 10)) {
    case 0: return {{"type", "integer"}, {"minimum", below(50)}, {"maximum", 50 + below(1000)}};
    case 1: return {{"type", "string"}, {"maxLength", 1 + below(8)}};
    case 2: return {{"type", "boolean"}};
    case 3: return {{"enum", {"red", "green", below(100), nullptr}}};
    case 4: return {{"type", "number"}};
    case 5: return {{"type", "string"}, {"pattern", below(2) == 0 ? "^[A-Z]{2}-[0-9]+$" : "^(a|bb|\\w\\s){1,3}$"}};
    case 6: return {{"type", "array"}, {"items", RandomSchema(random, depth + 1)}, {"minItems", below(3)}, {"maxItems", 3 + below(3)}};
    case 7: return {{"anyOf", {RandomSchema(random, depth + 1), RandomSchema(random, depth + 1)}}};
    default: break;
  }
  OrderedJson schema = {{"type", "object"}, {"properties", OrderedJson::object()}, {"required", OrderedJson::array()}};
  const int num = 1 + below(5);
  for (int i = 0; i < num; ++i) {
    const std::string name = std::string(1, static_cast<char>('a' + below(4))) + (below(2) == 0 ? "b" : "é") + std::to_string(i);
    schema["properties"][name] = RandomSchema(random, depth + 1);
    if (below(2) == 0) schema["required"].push_back(name);
  }
  if (below(3) == 0) schema["additionalProperties"] = RandomSchema(random, depth + 2);
  if (below(3) == 0) schema["additionalProperties"] = false;
  return schema;
}

TEST(SchemaGrammar, RandomTextsOfRandomSchemasSatisfyThem) {
  std::mt19937_64 random(2024);
  int num_ended = 0;
  for (int round = 0; round < 120; ++round) num_ended += CheckRandomTexts(RandomSchema(random, 0), 6);
  EXPECT_GT(num_ended, 500);
}

TEST(SchemaGrammar, TakesJsonAsPeopleWriteIt) {
  const OrderedJson schema = OrderedJson::parse(R"({"type": "object", "properties": {"name": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}}}, "required": ["name", "tags"]})");
  EXPECT_TRUE(Takes(schema, R"({"name":"x","tags":[]})"));
  EXPECT_TRUE(Takes(schema, R"({"name": "x", "tags": ["a", "b"]})"));
  EXPECT_TRUE(Takes(schema, "{\n  \"name\": \"x\",\n  \"tags\": [\n    \"a\",\n    \"b\"\n  ]\n}"));
  EXPECT_FALSE(Takes(schema, R"({"tags": [], "name": "x"})")) << "properties come in the schema's order";
  EXPECT_FALSE(Takes(schema, R"({"name": "x"})"));
  EXPECT_FALSE(Takes(schema, R"({"name": "x", "tags": [], "more": 1})"));
}

TEST(SchemaGrammar, NamesOfOtherPropertiesAreNotThoseListed) {
  const OrderedJson schema = OrderedJson::parse(R"({"type": "object", "properties": {"ab": {"type": "null"}, "abc": {"type": "null"}}, "additionalProperties": {"type": "integer"}})");
  EXPECT_TRUE(Takes(schema, R"({"ab":null,"a":1,"abcd":2,"":3,"b":4})"));
  EXPECT_FALSE(Takes(schema, R"({"ab":1})"));
  EXPECT_FALSE(Takes(schema, R"({"abc":1})"));
}

TEST(SchemaGrammar, SaysWhereItCannotKeepASchema) {
  EXPECT_THAT(ErrorOf(R"({"not": {}})"), HasSubstr("has 'not'"));
  EXPECT_THAT(ErrorOf(R"({"type": "object", "properties": {"a": {"type": "array", "uniqueItems": true}}})"), HasSubstr("at /properties/a has 'uniqueItems'"));
  EXPECT_THAT(ErrorOf(R"({"type": "number", "multipleOf": 3})"), HasSubstr("'multipleOf'"));
  EXPECT_THAT(ErrorOf(R"({"type": "thing"})"), HasSubstr("type 'thing'"));
  EXPECT_THAT(ErrorOf(R"({"type": "integer", "minimum": 5, "maximum": 4})"), HasSubstr("lets no integer"));
  EXPECT_THAT(ErrorOf(R"({"$ref": "#/nowhere"})"), HasSubstr("there is nothing"));
  EXPECT_THAT(ErrorOf(R"({"$ref": "http://elsewhere/x"})"), HasSubstr("only those within the schema"));
  EXPECT_THAT(ErrorOf(R"x({"type": "string", "pattern": "a(?=b)"})x"), HasSubstr("looks ahead"));
  EXPECT_THAT(ErrorOf(R"({"type": "array", "minItems": 3, "maxItems": 2})"), HasSubstr("minItems"));
  EXPECT_THAT(ErrorOf(R"({"type": "array", "minItems": 99999999})"), HasSubstr("above 10000"));
  EXPECT_THAT(ErrorOf(R"({"enum": []})"), HasSubstr("lets no value"));
  EXPECT_THAT(ErrorOf("false"), HasSubstr("nothing satisfies it"));
  EXPECT_THAT(ErrorOf("3"), HasSubstr("an object or a boolean"));
  EXPECT_THAT(ErrorOf(R"({"allOf": [{"type": "string"}, {"type": "integer"}]})"), HasSubstr("joins two 'type'"));
  EXPECT_THAT(ErrorOf(R"({"$ref": "#"})"), HasSubstr("lets no text"));
  EXPECT_THAT(ErrorOf(R"({"allOf": [{"$ref": "#"}]})"), HasSubstr("nests more than"));
  std::string deep = "{}";
  for (int i = 0; i < 100; ++i) deep = R"({"type": "array", "items": )" + deep + "}";
  EXPECT_THAT(ErrorOf(deep), HasSubstr("nests more than 64 levels"));
}

TEST(SchemaGrammar, ASchemaThatDoublesAtEveryLevelIsRefused) {
  OrderedJson schema = {{"$defs", OrderedJson::object()}, {"$ref", "#/$defs/d0"}};
  for (int i = 0; i < 60; ++i) {
    const OrderedJson next = {{"allOf", {{{"$ref", fmt::format("#/$defs/d{}", i + 1)}}, {{"$ref", fmt::format("#/$defs/d{}", i + 1)}}}}};
    schema["$defs"][fmt::format("d{}", i)] = next;
  }
  schema["$defs"]["d60"] = {{"type", "integer"}};
  EXPECT_THAT(ErrorOf(schema.dump()), HasSubstr("more than"));
}

}  // namespace
}  // namespace fathom
