#include "model/config_keys.h"

#include <cmath>
#include <utility>

#include "base/error.h"

namespace fathom {
namespace {

// A value as it stands in the file, short enough for one line.
std::string Shown(const Json& value) {
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > 120) {
    text.resize(117);
    text += "...";
  }
  return text;
}

bool ChangesNothing(const Json& value) {
  if (value.is_null()) return true;
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_number()) return value.get<double>() == 0.0;
  if (value.is_string()) return value.get_ref<const std::string&>().empty();
  return value.empty();
}

}  // namespace

ConfigKeys::ConfigKeys(const Json& json, std::string what, std::string prefix)
    : json_(json), what_(std::move(what)), prefix_(std::move(prefix)) {
  FATHOM_USER_CHECK(json.is_object(), "{}: {} must be a JSON object, got {}", what_,
                    prefix_.empty() ? "the configuration" : prefix_.substr(0, prefix_.size() - 1), Shown(json));
}

bool ConfigKeys::Has(const std::string& key) const {
  const auto found = json_.find(key);
  return found != json_.end() && !found->is_null();
}

const Json* ConfigKeys::Find(const std::string& key) {
  read_.insert(key);
  const auto found = json_.find(key);
  return found == json_.end() || found->is_null() ? nullptr : &*found;
}

void ConfigKeys::Refuse(const std::string& key, const std::string& rule) const {
  const auto found = json_.find(key);
  ThrowUserError("{}: {}{} {}, got {}", what_, prefix_, key, rule, found == json_.end() ? "nothing" : Shown(*found));
}

int64_t ConfigKeys::CheckedInt(const std::string& key, const Json& value, int64_t low, int64_t high) const {
  std::optional<int64_t> number;
  if (value.is_number_unsigned()) {
    if (value.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX)) number = static_cast<int64_t>(value.get<uint64_t>());
  } else if (value.is_number_integer()) {
    number = value.get<int64_t>();
  } else if (value.is_number_float()) {
    const double real = value.get<double>();
    if (std::abs(real) < 9e15 && std::floor(real) == real) number = static_cast<int64_t>(real);
  }
  if (!number || *number < low || *number > high) Refuse(key, fmt::format("must be a whole number from {} to {}", low, high));
  return *number;
}

int64_t ConfigKeys::Int(const std::string& key, int64_t low, int64_t high) {
  const Json* value = Find(key);
  FATHOM_USER_CHECK(value != nullptr, "{}: the key {}{} is missing; it must be a whole number from {} to {}", what_, prefix_, key, low, high);
  return CheckedInt(key, *value, low, high);
}

int64_t ConfigKeys::Int(const std::string& key, int64_t low, int64_t high, int64_t otherwise) {
  return OptionalInt(key, low, high).value_or(otherwise);
}

std::optional<int64_t> ConfigKeys::OptionalInt(const std::string& key, int64_t low, int64_t high) {
  const Json* value = Find(key);
  if (value == nullptr) return std::nullopt;
  return CheckedInt(key, *value, low, high);
}

std::optional<double> ConfigKeys::OptionalReal(const std::string& key, double low, double high) {
  const Json* value = Find(key);
  if (value == nullptr) return std::nullopt;
  const bool fits = value->is_number() && value->get<double>() >= low && value->get<double>() <= high;
  if (!fits) Refuse(key, fmt::format("must be a number from {:g} to {:g}", low, high));
  return value->get<double>();
}

double ConfigKeys::Real(const std::string& key, double low, double high, double otherwise) {
  return OptionalReal(key, low, high).value_or(otherwise);
}

bool ConfigKeys::Bool(const std::string& key, bool otherwise) {
  const Json* value = Find(key);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) Refuse(key, "must be true or false");
  return value->get<bool>();
}

std::string ConfigKeys::String(const std::string& key, const std::string& otherwise) {
  const Json* value = Find(key);
  if (value == nullptr) return otherwise;
  if (!value->is_string()) Refuse(key, "must be a string");
  return value->get<std::string>();
}

void ConfigKeys::RequireNeutral(const std::string& key, const Json& neutral, const std::string& why) {
  const Json* value = Find(key);
  if (value == nullptr || *value == neutral) return;
  Refuse(key, fmt::format("must be {} ({})", neutral.dump(), why));
}

void ConfigKeys::RefuseUnknown(const std::set<std::string>& harmless) const {
  for (const auto& [key, value] : json_.items()) {
    if (read_.count(key) != 0 || harmless.count(key) != 0 || ChangesNothing(value)) continue;
    Refuse(key, "is not a key that this program understands, and it may change the mathematics; it must be absent, null or false");
  }
}

}  // namespace fathom
