#include "engine/schema_grammar.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/utf8.h"
#include "engine/number_grammar.h"
#include "engine/regex_grammar.h"

namespace fathom {
namespace {

constexpr int64_t kMostSchemas = 20000, kMostItems = 10000, kMostLength = 100000;
constexpr int kMostDepth = 64;

constexpr std::array kRefused = {"not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies", "multipleOf", "contains", "minContains",
                                 "maxContains", "unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$recursiveRef", "additionalItems"};
// What says something of the value. Everything else is an annotation.
constexpr std::array kMeaning = {"type", "enum", "const", "properties", "required", "additionalProperties", "patternProperties", "propertyNames", "minProperties",
                                 "maxProperties", "items", "prefixItems", "minItems", "maxItems", "uniqueItems", "minLength", "maxLength", "pattern", "format", "minimum",
                                 "maximum", "exclusiveMinimum", "exclusiveMaximum", "anyOf", "oneOf", "allOf", "$ref"};
constexpr std::array kOfObjects = {"properties", "required", "additionalProperties", "patternProperties", "propertyNames", "minProperties", "maxProperties"};
constexpr std::array kOfArrays = {"items", "prefixItems", "minItems", "maxItems", "uniqueItems"};
constexpr std::array kOfStrings = {"minLength", "maxLength", "pattern", "format"};
constexpr std::array kOfNumbers = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"};

const char* FormatPattern(const std::string& format) {
  static constexpr const char *kDate = "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])",
                              *kTime = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])",
                              *kDateTime = "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?"
                                           "(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])";
  if (format == "date") return kDate;
  if (format == "time") return kTime;
  if (format == "date-time") return kDateTime;
  if (format == "uuid") return "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
  if (format == "ipv4") return "((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
  if (format == "email") return "[A-Za-z0-9_+-]{1,32}(\\.[A-Za-z0-9_+-]{1,32}){0,3}@[A-Za-z0-9]{1,32}(\\.[A-Za-z0-9]{1,32}){1,3}";
  return nullptr;
}

template <size_t N>
bool HasAny(const OrderedJson& schema, const std::array<const char*, N>& keywords) {
  return std::any_of(keywords.begin(), keywords.end(), [&](const char* keyword) { return schema.contains(keyword); });
}

// The type of a value by the schema's names; integers are numbers too.
bool IsOfType(const OrderedJson& value, const std::string& type) {
  if (type == "integer") return value.is_number_integer() || (value.is_number_float() && value.get<double>() == std::floor(value.get<double>()));
  if (type == "number") return value.is_number();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_boolean();
  if (type == "null") return value.is_null();
  if (type == "array") return value.is_array();
  return type == "object" && value.is_object();
}

class Converter {
 public:
  Converter(const OrderedJson& root, EbnfWriter& writer, const std::string& what) : root_(root), writer_(writer), what_(what) {}

  std::string Any(const OrderedJson& schema, const std::string& place, int depth) {
    if (depth > kMostDepth) Fail(place, "nests more than {} levels", kMostDepth);
    if (++num_schemas_ > kMostSchemas) Fail("", "has more than {} schemas in it", kMostSchemas);
    if (schema.is_boolean()) {
      if (!schema.get<bool>()) Fail(place, "is false: nothing satisfies it");
      return writer_.Json("value");
    }
    if (!schema.is_object()) Fail(place, "must be an object or a boolean");
    for (const char* keyword : kRefused) {
      if (schema.contains(keyword)) Fail(place, "has '{}', which cannot be kept here", keyword);
    }
    // A reference alone is a rule of its own, so that a schema may hold itself.
    if (schema.contains("$ref") && NumMeanings(schema) == 1) return Reference(schema["$ref"], place, depth);
    if (schema.contains("$ref") || schema.contains("allOf")) return Any(Joined(schema, place, depth), place, depth + 1);
    for (const char* keyword : {"anyOf", "oneOf"}) {
      if (schema.contains(keyword)) return Choices(schema, keyword, place, depth);
    }
    if (schema.contains("const") || schema.contains("enum")) return Values(schema, place);
    if (!schema.contains("type")) return Untyped(schema, place, depth);
    const OrderedJson& type = schema["type"];
    if (type.is_string()) return OfType(schema, type.get<std::string>(), place, depth);
    if (!type.is_array() || type.empty()) Fail(place, "has a 'type' that is no string or array of strings");
    std::vector<std::string> choices;
    for (const OrderedJson& each : type) {
      if (!each.is_string()) Fail(place, "has a 'type' that is no string or array of strings");
      choices.push_back(OfType(schema, each.get<std::string>(), place, depth));
    }
    return fmt::format("({})", fmt::join(choices, " | "));
  }

 private:
  template <typename... Args>
  [[noreturn]] void Fail(const std::string& place, fmt::format_string<Args...> format, Args&&... args) const {
    ThrowUserError("{}: the schema{} {}", what_, place.empty() ? "" : " at " + place.substr(0, 200), fmt::format(format, std::forward<Args>(args)...));
  }

  static int64_t NumMeanings(const OrderedJson& schema) {
    return std::count_if(kMeaning.begin(), kMeaning.end(), [&](const char* keyword) { return schema.contains(keyword); });
  }

  const OrderedJson& Target(const OrderedJson& reference, const std::string& place) const {
    if (!reference.is_string()) Fail(place, "has a '$ref' that is no string");
    const std::string uri = reference.get<std::string>();
    if (uri.empty() || uri[0] != '#') Fail(place, "has the '$ref' '{}': only those within the schema are followed", uri.substr(0, 100));
    try {
      std::string pointer = uri.substr(1);
      return root_.at(OrderedJson::json_pointer(pointer));
    } catch (const OrderedJson::exception&) {
      Fail(place, "has the '$ref' '{}', and there is nothing", uri.substr(0, 100));
    }
  }

  std::string Reference(const OrderedJson& reference, const std::string& place, int depth) {
    const OrderedJson& target = Target(reference, place);
    const auto uri = reference.get<std::string>();
    if (const auto known = references_.find(uri); known != references_.end()) return known->second;
    const std::string name = writer_.NewName(uri.substr(uri.find_last_of('/') + 1));
    references_[uri] = name;
    const std::string body = Any(target, uri, depth + 1);
    writer_.Define(name, body);
    return name;
  }

  // The schema with its references and allOf in it, so that none is left.
  OrderedJson Joined(const OrderedJson& schema, const std::string& place, int depth) {
    if (depth > kMostDepth) Fail(place, "nests more than {} levels", kMostDepth);
    if (++num_schemas_ > kMostSchemas) Fail("", "has more than {} schemas in it", kMostSchemas);
    if (schema.is_boolean() && schema.get<bool>()) return OrderedJson::object();
    if (!schema.is_object()) Fail(place, "must be an object");
    for (const char* keyword : kRefused) {
      if (schema.contains(keyword)) Fail(place, "has '{}', which cannot be kept here", keyword);
    }
    OrderedJson joined = OrderedJson::object();
    for (const char* keyword : kMeaning) {
      if (schema.contains(keyword) && std::string_view(keyword) != "$ref" && std::string_view(keyword) != "allOf") joined[keyword] = schema[keyword];
    }
    if (schema.contains("$ref")) Join(joined, Joined(Target(schema["$ref"], place), place, depth + 1), place);
    if (schema.contains("allOf")) {
      if (!schema["allOf"].is_array()) Fail(place, "has an 'allOf' that is no array");
      for (const OrderedJson& each : schema["allOf"]) Join(joined, Joined(each, place + "/allOf", depth + 1), place);
    }
    return joined;
  }

  // `into` says what both say.
  void Join(OrderedJson& into, const OrderedJson& more, const std::string& place) const {
    const auto is_closed = [](const OrderedJson& s) { return s.contains("additionalProperties") && s["additionalProperties"] != true; };
    if (is_closed(into) || is_closed(more)) {
      const OrderedJson none = OrderedJson::object();
      const OrderedJson &a = into.contains("properties") ? into["properties"] : none, &b = more.contains("properties") ? more["properties"] : none;
      if (a.is_object() && b.is_object()) {
        for (const auto& [open, closed, is] : {std::tuple{&a, &b, is_closed(more)}, std::tuple{&b, &a, is_closed(into)}}) {
          for (const auto& [name, unused] : open->items()) {
            if (is && !closed->contains(name)) Fail(place, "joins the property '{}' with an 'additionalProperties' that is not true", name.substr(0, 60));
          }
        }
      }
    }
    for (const auto& [keyword, value] : more.items()) {
      if (!into.contains(keyword)) {
        into[keyword] = value;
        continue;
      }
      OrderedJson& mine = into[keyword];
      if (mine == value) continue;
      const bool is_least = keyword == "minimum" || keyword == "exclusiveMinimum" || keyword == "minLength" || keyword == "minItems" || keyword == "minProperties";
      const bool is_most = keyword == "maximum" || keyword == "exclusiveMaximum" || keyword == "maxLength" || keyword == "maxItems" || keyword == "maxProperties";
      if ((is_least || is_most) && mine.is_number() && value.is_number()) {
        if (is_least ? value.get<double>() > mine.get<double>() : value.get<double>() < mine.get<double>()) mine = value;
      } else if (keyword == "required" && mine.is_array() && value.is_array()) {
        for (const OrderedJson& name : value) {
          if (std::find(mine.begin(), mine.end(), name) == mine.end()) mine.push_back(name);
        }
      } else if (keyword == "properties" && mine.is_object() && value.is_object()) {
        for (const auto& [name, schema] : value.items()) {
          OrderedJson both = mine.contains(name) ? OrderedJson{{"allOf", OrderedJson::array({mine[name], schema})}} : schema;
          mine[name] = std::move(both);
        }
      } else if (keyword == "type" && mine == "number" && value == "integer") {
        mine = value;
      } else if (keyword == "additionalProperties" && (mine == true || value == false)) {
        mine = value;
      } else if (!(keyword == "type" && mine == "integer" && value == "number") && !(keyword == "additionalProperties" && (value == true || mine == false))) {
        Fail(place, "joins two '{}' that differ", keyword);
      }
    }
  }

  std::string Choices(const OrderedJson& schema, const char* keyword, const std::string& place, int depth) {
    const OrderedJson& options = schema[keyword];
    if (!options.is_array() || options.empty()) Fail(place, "has an '{}' that is no array of schemas", keyword);
    OrderedJson rest = OrderedJson::object();
    for (const char* meaning : kMeaning) {
      if (schema.contains(meaning) && std::string_view(meaning) != keyword) rest[meaning] = schema[meaning];
    }
    std::vector<std::string> choices;
    for (size_t i = 0; i < options.size(); ++i) {
      const std::string there = fmt::format("{}/{}/{}", place, keyword, i);
      choices.push_back(rest.empty() ? Any(options[i], there, depth + 1) : Any({{"allOf", OrderedJson::array({rest, options[i]})}}, there, depth + 1));
    }
    return choices.size() == 1 ? choices[0] : fmt::format("({})", fmt::join(choices, " | "));
  }

  std::string Values(const OrderedJson& schema, const std::string& place) {
    OrderedJson values = schema.contains("const") ? OrderedJson::array({schema["const"]}) : schema["enum"];
    if (!values.is_array()) Fail(place, "has an 'enum' that is no array");
    for (const char* keyword : kMeaning) {
      const std::string_view name = keyword;
      if (name != "const" && name != "enum" && name != "type" && name != "format" && schema.contains(keyword)) Fail(place, "has 'enum' or 'const' beside '{}'", keyword);
    }
    std::vector<std::string> choices;
    for (const OrderedJson& value : values) {
      if (schema.contains("const") && schema.contains("enum") && std::find(schema["enum"].begin(), schema["enum"].end(), value) == schema["enum"].end()) continue;
      const OrderedJson types = !schema.contains("type") ? OrderedJson() : schema["type"].is_array() ? schema["type"] : OrderedJson::array({schema["type"]});
      const bool fits = types.is_null() || std::any_of(types.begin(), types.end(), [&](const OrderedJson& type) { return type.is_string() && IsOfType(value, type.get<std::string>()); });
      if (fits) choices.push_back(EbnfText(value.dump(-1, ' ', false, OrderedJson::error_handler_t::replace)));
    }
    if (choices.empty()) Fail(place, "lets no value");
    return choices.size() == 1 ? choices[0] : writer_.Rule("enum", fmt::format("{}", fmt::join(choices, " | ")));
  }

  std::string Untyped(const OrderedJson& schema, const std::string& place, int depth) {
    const std::array<std::pair<bool, const char*>, 4> kinds = {{{HasAny(schema, kOfObjects), "object"}, {HasAny(schema, kOfArrays), "array"},
                                                               {HasAny(schema, kOfStrings), "string"}, {HasAny(schema, kOfNumbers), "number"}}};
    std::vector<std::string> choices;
    for (const auto& [is_meant, type] : kinds) {
      if (is_meant) choices.push_back(OfType(schema, type, place, depth));
    }
    if (choices.empty()) return writer_.Json("value");
    return choices.size() == 1 ? choices[0] : fmt::format("({})", fmt::join(choices, " | "));
  }

  std::string OfType(const OrderedJson& schema, const std::string& type, const std::string& place, int depth) {
    if (type == "boolean" || type == "null") return writer_.Json(type);
    if (type == "integer" || type == "number") return Number(schema, type, place);
    if (type == "string") return String(schema, place);
    if (type == "array") return Array(schema, place, depth);
    if (type == "object") return Object(schema, place, depth);
    Fail(place, "has the type '{}', which is none of JSON's", type.substr(0, 40));
  }

  std::optional<double> Bound(const OrderedJson& schema, const char* keyword, const std::string& place) const {
    if (!schema.contains(keyword)) return std::nullopt;
    if (!schema[keyword].is_number()) Fail(place, "has a '{}' that is no number", keyword);
    return schema[keyword].get<double>();
  }

  std::string Number(const OrderedJson& schema, const std::string& type, const std::string& place) {
    NumberRange range{.least = Bound(schema, "minimum", place), .most = Bound(schema, "maximum", place)};
    if (const auto bound = Bound(schema, "exclusiveMinimum", place); bound && (!range.least || *bound >= *range.least)) {
      range.least = bound;
      range.above_least = true;
    }
    if (const auto bound = Bound(schema, "exclusiveMaximum", place); bound && (!range.most || *bound <= *range.most)) {
      range.most = bound;
      range.below_most = true;
    }
    if (range.is_free()) return writer_.Json(type);
    const std::string numbers = type == "integer" ? IntegersBetween(range) : NumbersBetween(range);
    if (numbers.empty()) Fail(place, "lets no {} (of at most 16 digits)", type);
    return writer_.Rule(type, numbers);
  }

  // A count; `most` where the schema has none is -1.
  int64_t Count(const OrderedJson& schema, const char* keyword, int64_t otherwise, int64_t most, const std::string& place) const {
    if (!schema.contains(keyword)) return otherwise;
    const OrderedJson& value = schema[keyword];
    const double number = value.is_number() ? value.get<double>() : -1;
    if (!(number >= 0 && number == std::floor(number))) Fail(place, "has a '{}' that is no count", keyword);
    if (number > static_cast<double>(most)) Fail(place, "has a '{}' above {}", keyword, most);
    return static_cast<int64_t>(number);
  }

  static std::string Times(int64_t least, int64_t most) {
    return most < 0 ? fmt::format("{{{},}}", least) : least == most ? fmt::format("{{{}}}", least) : fmt::format("{{{},{}}}", least, most);
  }

  std::string String(const OrderedJson& schema, const std::string& place) {
    const bool has_length = schema.contains("minLength") || schema.contains("maxLength");
    const char* of_format = schema.contains("format") && schema["format"].is_string() ? FormatPattern(schema["format"].get<std::string>()) : nullptr;
    if (schema.contains("pattern") || of_format != nullptr) {
      if (schema.contains("pattern") && !schema["pattern"].is_string()) Fail(place, "has a 'pattern' that is no string");
      if (has_length) Fail(place, "has '{}' beside a length: the pattern can say the length", of_format ? "format" : "pattern");
      if (of_format && schema.contains("pattern")) Fail(place, "has 'pattern' beside 'format'");
      const std::string pattern = of_format ? std::string(of_format) : schema["pattern"].get<std::string>();
      const std::string body = RegexToEbnf(pattern, RegexPlace::kJsonString, fmt::format("{}: the schema at {}", what_, place.empty() ? "its root" : place.substr(0, 200)));
      return writer_.Rule("text", fmt::format("\"\\\"\" ({}) \"\\\"\"", body));
    }
    if (!has_length) return writer_.Json("string");
    const int64_t least = Count(schema, "minLength", 0, kMostLength, place), most = Count(schema, "maxLength", -1, int64_t{1} << 50, place);
    if (most >= 0 && least > most) Fail(place, "has a 'minLength' above its 'maxLength'");
    if (most > kMostLength && least == 0) return writer_.Json("string");
    return writer_.Rule("text", fmt::format("\"\\\"\" {}{} \"\\\"\"", PlainJsonCharacters().Ebnf(), Times(least, std::min(most, kMostLength))));
  }

  std::string Array(const OrderedJson& schema, const std::string& place, int depth) {
    int64_t least = Count(schema, "minItems", 0, kMostItems, place), most = Count(schema, "maxItems", -1, kMostItems, place);
    if (schema.contains("uniqueItems") && schema["uniqueItems"] != false && !(most >= 0 && most <= 1)) Fail(place, "has 'uniqueItems', which cannot be kept here");
    std::vector<std::string> first;
    if (schema.contains("prefixItems")) {
      if (!schema["prefixItems"].is_array()) Fail(place, "has a 'prefixItems' that is no array");
      for (const OrderedJson& item : schema["prefixItems"]) first.push_back(Any(item, place + "/prefixItems", depth + 1));
    }
    const bool has_rest = !(schema.contains("items") && schema["items"] == false) && !(schema.contains("prefixItems") && !schema.contains("items"));
    const auto num_first = static_cast<int64_t>(first.size());
    if (!has_rest || (most >= 0 && most <= num_first)) most = most < 0 ? num_first : std::min(most, num_first);
    if (most >= 0 && least > most) Fail(place, "has a 'minItems' above what it may have");
    const std::string& ws = writer_.Json("ws");
    std::string rest;  // items behind the first ones, each with its comma
    if (most < 0 || most > num_first) {
      const std::string item = schema.contains("items") ? Any(schema["items"], place + "/items", depth + 1) : writer_.Json("value");
      const int64_t least_rest = std::max<int64_t>(least - num_first, 0), most_rest = most < 0 ? -1 : most - num_first;
      if (num_first > 0) {
        rest = fmt::format("(\",\" {} {} {}){}", ws, item, ws, Times(least_rest, most_rest));
      } else {
        const std::string more = most_rest == 1 ? "" : fmt::format(" (\",\" {} {} {}){}", ws, item, ws, Times(std::max<int64_t>(least_rest - 1, 0), most_rest < 0 ? -1 : most_rest - 1));
        rest = fmt::format("({} {}{}){}", item, ws, more, least_rest == 0 ? "?" : "");
      }
    }
    // From the last of the first items to the first: each may be the end where enough came before.
    std::string tail = rest;
    for (int64_t i = std::min(num_first, most < 0 ? num_first : most) - 1; i >= 0; --i) {
      const std::string one = fmt::format("{}{} {} {}", i > 0 ? fmt::format("\",\" {} ", ws) : "", first[static_cast<size_t>(i)], ws, tail);
      tail = i >= least ? fmt::format("({})?", one) : one;
    }
    return writer_.Rule("array", fmt::format("\"[\" {} {} \"]\"", ws, tail));
  }

  std::string Object(const OrderedJson& schema, const std::string& place, int depth) {
    if (!HasAny(schema, kOfObjects)) return writer_.Json("object");
    const OrderedJson none = OrderedJson::object();
    const OrderedJson& properties = schema.contains("properties") ? schema["properties"] : none;
    if (!properties.is_object()) Fail(place, "has 'properties' that are no object");
    std::set<std::string> required;
    if (schema.contains("required")) {
      if (!schema["required"].is_array()) Fail(place, "has a 'required' that is no array");
      for (const OrderedJson& name : schema["required"]) {
        if (!name.is_string()) Fail(place, "has a 'required' that holds no string");
        required.insert(name.get<std::string>());
      }
    }
    const std::string ws = writer_.Json("ws");
    const auto member = [&](const std::string& key, const std::string& value) { return writer_.Rule("member", fmt::format("{} {} \":\" {} {} {}", key, ws, ws, value, ws)); };
    const bool closed = schema.contains("additionalProperties") && schema["additionalProperties"] == false;
    struct Member {
      std::string rule;
      bool is_required;
    };
    std::vector<Member> members;
    const auto key_of = [&](const std::string& name) { return EbnfText(OrderedJson(name).dump(-1, ' ', false, OrderedJson::error_handler_t::replace)); };
    for (const auto& [name, value] : properties.items()) {
      const std::string there = place + "/properties/" + name;
      if (value == false) {
        if (required.contains(name)) Fail(there, "is false, and it is required");
        continue;
      }
      members.push_back({member(key_of(name), writer_.Rule("value", Any(value, there, depth + 1))), required.contains(name)});
    }
    for (const std::string& name : required) {
      if (properties.contains(name)) continue;
      if (closed) Fail(place, "requires '{}', which is no property of it", name.substr(0, 60));
      const bool has_schema = schema.contains("additionalProperties") && schema["additionalProperties"].is_object();
      members.push_back({member(key_of(name), has_schema ? Any(schema["additionalProperties"], place + "/additionalProperties", depth + 1) : writer_.Json("value")), true});
    }
    const std::string other = OtherMember(schema, properties, required, place, depth, member);
    CheckNumProperties(schema, static_cast<int64_t>(members.size()), static_cast<int64_t>(required.size()), !other.empty(), place);
    const bool needs_one = schema.contains("minProperties") && schema["minProperties"] != 0;

    // tail: what may come behind member i - 1 once one was written; begin: while none was.
    std::string tail = other.empty() ? "\"\"" : fmt::format("(\",\" {} {})*", ws, other);
    std::string begin = other.empty() ? "\"\"" : fmt::format("({} {}){}", other, tail, needs_one && required.empty() ? "" : "?");
    for (auto it = members.rbegin(); it != members.rend(); ++it) {
      const std::string next = tail == "\"\"" ? "" : writer_.Rule("rest", tail);
      begin = it->is_required ? fmt::format("{} {}", it->rule, next) : fmt::format("({} {} | {})", it->rule, next, begin);
      tail = it->is_required ? fmt::format("\",\" {} {} {}", ws, it->rule, next) : fmt::format("(\",\" {} {})? {}", ws, it->rule, next);
      if (!it->is_required) begin = writer_.Rule("begin", begin);
    }
    return writer_.Rule("object", fmt::format("\"{{\" {} {} \"}}\"", ws, begin));
  }

  void CheckNumProperties(const OrderedJson& schema, int64_t num_members, int64_t num_required, bool has_other, const std::string& place) const {
    const int64_t least = Count(schema, "minProperties", 0, kMostItems, place), most = Count(schema, "maxProperties", -1, int64_t{1} << 50, place);
    // One is had by any member; more could be the same name twice.
    const bool keeps_least = least <= num_required || (least == 1 && num_required == 0 && num_members == 0 && has_other);
    if (!keeps_least) Fail(place, "has a 'minProperties' that its required properties do not decide");
    if (most >= 0 && (has_other || num_members > most)) Fail(place, "has a 'maxProperties' that its properties do not decide");
  }

  // A member whose name the schema does not list; empty: there may be none.
  template <typename MakeMember>
  std::string OtherMember(const OrderedJson& schema, const OrderedJson& properties, const std::set<std::string>& required, const std::string& place, int depth,
                          const MakeMember& member) {
    const bool is_listed = schema.contains("additionalProperties");
    const bool is_closed = is_listed && schema["additionalProperties"] == false;
    const auto value = [&] {
      return is_listed && schema["additionalProperties"].is_object() ? Any(schema["additionalProperties"], place + "/additionalProperties", depth + 1) : writer_.Json("value");
    };
    if (schema.contains("patternProperties") || schema.contains("propertyNames")) {
      const bool has_pattern = schema.contains("patternProperties");
      if (!properties.empty() || !required.empty() || (has_pattern && schema.contains("propertyNames"))) {
        Fail(place, "has '{}' beside other names of properties", has_pattern ? "patternProperties" : "propertyNames");
      }
      if (!has_pattern) {
        if (is_closed) return "";
        OrderedJson names = schema["propertyNames"];
        if (!names.is_object()) Fail(place, "has 'propertyNames' that are no object");
        if (!names.contains("enum") && !names.contains("const")) names["type"] = "string";
        return member(Any(names, place + "/propertyNames", depth + 1), value());
      }
      const OrderedJson& patterns = schema["patternProperties"];
      if (!patterns.is_object() || patterns.size() != 1) Fail(place, "has 'patternProperties' that are no object of one pattern");
      const auto pattern = patterns.begin();
      const std::string there = place + "/patternProperties";
      const std::string key = fmt::format("\"\\\"\" ({}) \"\\\"\"", RegexToEbnf(pattern.key(), RegexPlace::kJsonString, fmt::format("{}: the schema at {}", what_, there.substr(0, 200))));
      return member(writer_.Rule("name", key), Any(*pattern, there, depth + 1));
    }
    if (is_closed || !is_listed) return !schema.contains("properties") && required.empty() && !is_closed ? member(writer_.Json("string"), writer_.Json("value")) : "";
    std::set<std::string> names = required;
    for (const auto& [name, unused] : properties.items()) names.insert(name);
    return member(names.empty() ? writer_.Json("string") : OtherName(names), value());
  }

  // A JSON string, without escapes, that is none of `names`.
  std::string OtherName(const std::set<std::string>& names) {
    return writer_.Rule("name", fmt::format("\"\\\"\" {} \"\\\"\"", OtherThan(names, 0)));
  }

  // What may follow when all of `names` begin with what was written, which is `at` bytes long.
  std::string OtherThan(const std::set<std::string>& names, size_t at) {
    const std::string any = PlainJsonCharacters().Ebnf();
    std::map<uint32_t, std::set<std::string>> next;
    std::map<uint32_t, size_t> lengths;
    bool ends_here = false;
    for (const std::string& name : names) {
      if (name.size() <= at) {
        ends_here = true;
        continue;
      }
      const Utf8Step step = DecodeUtf8(std::string_view(name).substr(at));
      next[step.code_point].insert(name);
      lengths[step.code_point] = at + step.num_bytes;
    }
    std::vector<std::string> choices;
    CharacterSet others = PlainJsonCharacters();
    for (const auto& [character, those] : next) {
      others = others.Without({{character, character}});
      if (!PlainJsonCharacters().Contains(character)) continue;
      choices.push_back(CharacterSet({{character, character}}).Ebnf() + " " + writer_.Rule("other", OtherThan(those, lengths[character])));
    }
    choices.push_back(others.Ebnf() + " " + any + "*");
    return fmt::format("({}){}", fmt::join(choices, " | "), ends_here ? "" : "?");
  }

  const OrderedJson& root_;
  EbnfWriter& writer_;
  const std::string& what_;
  std::map<std::string, std::string> references_;
  int64_t num_schemas_ = 0;
};

}  // namespace

std::string SchemaToEbnf(const OrderedJson& schema, EbnfWriter& writer, const std::string& what) { return Converter(schema, writer, what).Any(schema, "", 0); }

}  // namespace fathom
