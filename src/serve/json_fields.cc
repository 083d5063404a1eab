#include "serve/json_fields.h"

#include <cmath>

#include "base/error.h"
#include "serve/api_error.h"

namespace fathom {

OrderedJson ParseBody(std::string_view text) {
  std::vector<int64_t> num_keys = {0};  // of each open object or array
  ForEachJsonMark(text, [&](char c) {
    if (c == '{' || c == '[') num_keys.push_back(0);
    else if (c == ':') FATHOM_USER_CHECK(++num_keys.back() <= kMostKeys, "the body: an object has more than {} keys", kMostKeys);
    else if (num_keys.size() > 1) num_keys.pop_back();
  });
  return ParseOrderedJson(text, "the body");
}

std::string Shown(const OrderedJson& value) {
  constexpr size_t kMost = 60;
  if (value.is_structured() && value.size() > 20) return value.is_array() ? "a long array" : "a large object";
  std::string text = value.dump(-1, ' ', true, OrderedJson::error_handler_t::replace);
  if (text.size() > kMost) {
    text.resize(kMost);
    text += "...";
  }
  return text;
}

JsonFields::JsonFields(const OrderedJson& object, std::string where) : object_(object), where_(std::move(where)) {
  if (object.is_object()) return;
  if (where_.empty()) ThrowBadField("", "the body must be a JSON object, got {}", Shown(object));
  const std::string name = where_.substr(0, where_.size() - 1);
  ThrowBadField(name, "'{}' must be an object, got {}", name, Shown(object));
}

const OrderedJson* JsonFields::Find(const char* name) const {
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::optional<double> JsonFields::Number(const char* name, double least, double most) const {
  const OrderedJson* value = Find(name);
  if (value == nullptr) return std::nullopt;
  const double number = value->is_number() ? value->get<double>() : std::nan("");
  if (!(number >= least && number <= most)) ThrowBadField(NameOf(name), "'{}' must be a number from {} to {}, got {}", NameOf(name), least, most, Shown(*value));
  return number;
}

std::optional<int64_t> JsonFields::Integer(const char* name, int64_t least, int64_t most) const {
  const OrderedJson* value = Find(name);
  if (value == nullptr) return std::nullopt;
  std::optional<int64_t> number;
  if (value->is_number_unsigned()) {
    if (value->get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX)) number = value->get<int64_t>();
  } else if (value->is_number_integer()) {
    number = value->get<int64_t>();
  } else if (value->is_number_float()) {  // clients without integers write 5.0
    const double real = value->get<double>();
    if (std::abs(real) <= 9e15 && real == std::floor(real)) number = static_cast<int64_t>(real);
  }
  if (!number || *number < least || *number > most) {
    if (most == INT64_MAX) ThrowBadField(NameOf(name), "'{}' must be an integer of at least {}, got {}", NameOf(name), least, Shown(*value));
    ThrowBadField(NameOf(name), "'{}' must be an integer from {} to {}, got {}", NameOf(name), least, most, Shown(*value));
  }
  return number;
}

std::optional<bool> JsonFields::Boolean(const char* name) const {
  const OrderedJson* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) ThrowBadField(NameOf(name), "'{}' must be true or false, got {}", NameOf(name), Shown(*value));
  return value->get<bool>();
}

std::optional<std::string> JsonFields::Text(const char* name) const {
  const OrderedJson* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) ThrowBadField(NameOf(name), "'{}' must be a string, got {}", NameOf(name), Shown(*value));
  return value->get<std::string>();
}

std::vector<std::string> JsonFields::Texts(const char* name, size_t most) const {
  const OrderedJson* value = Find(name);
  if (value == nullptr) return {};
  if (value->is_string()) return {value->get<std::string>()};
  std::vector<std::string> texts;
  bool is_valid = value->is_array() && value->size() <= most;
  if (is_valid) {
    for (const OrderedJson& text : *value) {
      is_valid = is_valid && text.is_string();
      if (is_valid) texts.push_back(text.get<std::string>());
    }
  }
  if (!is_valid) ThrowBadField(NameOf(name), "'{}' must be a string or an array of at most {} strings, got {}", NameOf(name), most, Shown(*value));
  return texts;
}

std::vector<int32_t> JsonFields::TokenIds(const char* name) const {
  const OrderedJson* value = Find(name);
  return value == nullptr ? std::vector<int32_t>{} : ReadTokenIds(*value, NameOf(name));
}

std::vector<int32_t> ReadTokenIds(const OrderedJson& array, const std::string& name) {
  std::vector<int32_t> ids;
  bool is_valid = array.is_array();
  if (is_valid) {
    ids.reserve(array.size());
    for (const OrderedJson& id : array) {
      is_valid = is_valid && id.is_number_integer() && id.get<int64_t>() >= 0 && id.get<int64_t>() <= INT32_MAX;
      if (!is_valid) break;
      ids.push_back(id.get<int32_t>());
    }
  }
  if (!is_valid) ThrowBadField(name, "'{}' must be an array of token ids, got {}", name, Shown(array));
  return ids;
}

}  // namespace fathom
