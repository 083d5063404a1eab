// Whether a JSON value satisfies a schema: the plain definitions (draft 2020-12) of what tests use.
#pragma once

#include <cmath>
#include <regex>
#include <string>

#include "base/json.h"
#include "base/utf8.h"

namespace fathom {

inline bool HasType(const OrderedJson& value, const std::string& type) {
  if (type == "integer") return value.is_number_integer() || (value.is_number_float() && value.get<double>() == std::floor(value.get<double>()));
  if (type == "number") return value.is_number();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_boolean();
  if (type == "null") return value.is_null();
  return type == "array" ? value.is_array() : type == "object" && value.is_object();
}

inline size_t NumCharacters(const std::string& text) {
  size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return count;
}

inline std::wstring Wide(const std::string& text) {
  std::wstring wide;
  for (const char* p = text.data(); p < text.data() + text.size();) wide += static_cast<wchar_t>(NextCodePoint(p));
  return wide;
}

inline bool Matches(const std::string& text, const std::string& pattern) { return std::regex_search(Wide(text), std::wregex(Wide(pattern))); }

// Why `value` does not satisfy `schema`; empty: it does.
inline std::string Violation(const OrderedJson& schema, const OrderedJson& value, const OrderedJson& root) {
  if (schema.is_boolean()) return schema.get<bool>() ? "" : "false";
  const auto has = [&](const char* key) { return schema.contains(key); };
  const auto all = [&](const OrderedJson& schemas) {
    for (const auto& each : schemas) {
      if (const std::string why = Violation(each, value, root); !why.empty()) return why;
    }
    return std::string();
  };
  const auto any = [&](const OrderedJson& schemas) {
    for (const auto& each : schemas) {
      if (Violation(each, value, root).empty()) return true;
    }
    return false;
  };
  if (has("$ref")) {
    if (const std::string why = Violation(root.at(OrderedJson::json_pointer(schema["$ref"].get<std::string>().substr(1))), value, root); !why.empty()) return why;
  }
  if (has("type")) {
    const OrderedJson types = schema["type"].is_array() ? schema["type"] : OrderedJson::array({schema["type"]});
    bool fits = false;
    for (const auto& type : types) fits = fits || HasType(value, type.get<std::string>());
    if (!fits) return "type " + schema["type"].dump();
  }
  if (has("const") && value != schema["const"]) return "const";
  if (has("enum") && std::find(schema["enum"].begin(), schema["enum"].end(), value) == schema["enum"].end()) return "enum";
  if (has("allOf")) {
    if (const std::string why = all(schema["allOf"]); !why.empty()) return why;
  }
  if (has("anyOf") && !any(schema["anyOf"])) return "anyOf";
  if (has("oneOf") && !any(schema["oneOf"])) return "oneOf";
  if (value.is_number()) {
    const double x = value.get<double>();
    if (has("minimum") && x < schema["minimum"].get<double>()) return "minimum";
    if (has("maximum") && x > schema["maximum"].get<double>()) return "maximum";
    if (has("exclusiveMinimum") && x <= schema["exclusiveMinimum"].get<double>()) return "exclusiveMinimum";
    if (has("exclusiveMaximum") && x >= schema["exclusiveMaximum"].get<double>()) return "exclusiveMaximum";
  }
  if (value.is_string()) {
    const auto text = value.get<std::string>();
    if (has("minLength") && NumCharacters(text) < schema["minLength"].get<size_t>()) return "minLength";
    if (has("maxLength") && NumCharacters(text) > schema["maxLength"].get<size_t>()) return "maxLength";
    if (has("pattern") && !Matches(text, schema["pattern"].get<std::string>())) return "pattern";
  }
  if (value.is_array()) {
    if (has("minItems") && value.size() < schema["minItems"].get<size_t>()) return "minItems";
    if (has("maxItems") && value.size() > schema["maxItems"].get<size_t>()) return "maxItems";
    const size_t num_first = has("prefixItems") ? schema["prefixItems"].size() : 0;
    for (size_t i = 0; i < value.size(); ++i) {
      const OrderedJson of_item = i < num_first ? schema["prefixItems"][i] : has("items") ? schema["items"] : OrderedJson(true);
      if (const std::string why = Violation(of_item, value[i], root); !why.empty()) return "item " + std::to_string(i) + ": " + why;
    }
  }
  if (value.is_object()) {
    if (has("required")) {
      for (const auto& name : schema["required"]) {
        if (!value.contains(name.get<std::string>())) return "required " + name.dump();
      }
    }
    if (has("minProperties") && value.size() < schema["minProperties"].get<size_t>()) return "minProperties";
    if (has("maxProperties") && value.size() > schema["maxProperties"].get<size_t>()) return "maxProperties";
    for (const auto& [name, of_name] : value.items()) {
      bool is_known = false;
      const auto check = [&](const OrderedJson& of_value) {
        is_known = true;
        const std::string why = Violation(of_value, of_name, root);
        return why.empty() ? why : name + ": " + why;
      };
      if (has("properties") && schema["properties"].contains(name)) {
        if (const std::string why = check(schema["properties"][name]); !why.empty()) return why;
      }
      if (has("patternProperties")) {
        for (const auto& [pattern, of_value] : schema["patternProperties"].items()) {
          if (!Matches(name, pattern)) continue;
          if (const std::string why = check(of_value); !why.empty()) return why;
        }
      }
      if (!is_known && has("additionalProperties")) {
        if (const std::string why = check(schema["additionalProperties"]); !why.empty()) return why;
      }
      if (has("propertyNames")) {
        if (const std::string why = Violation(schema["propertyNames"], OrderedJson(name), root); !why.empty()) return "name " + why;
      }
    }
  }
  return "";
}

}  // namespace fathom
