// An object of tokenizer.json whose every key must be asked for: what is not understood is an error, never ignored.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>

#include "base/error.h"
#include "base/json.h"

namespace fathom {

class JsonObject {
 public:
  // `what` names the object in errors ("tokenizer.json: pre_tokenizer"). `json` must live on.
  JsonObject(const Json& json, std::string what) : json_(json), what_(std::move(what)) {
    FATHOM_USER_CHECK(json.is_object(), "{}: must be an object, got {}", what_, json.type_name());
  }

  const std::string& what() const { return what_; }
  // Throws for a key that is none of `known`.
  void AllowKeys(std::initializer_list<const char*> known) const {
    for (const auto& [key, value] : json_.items()) {
      bool found = false;
      for (const char* name : known) found = found || key == name;
      FATHOM_USER_CHECK(found, "{}: the key '{}' is not supported", what_, key);
    }
  }

  // The value, or nullptr when the key is absent or null.
  const Json* Find(const char* key) const {
    const auto it = json_.find(key);
    return it == json_.end() || it->is_null() ? nullptr : &*it;
  }
  const Json& Get(const char* key) const {
    const Json* value = Find(key);
    FATHOM_USER_CHECK(value != nullptr, "{}: '{}' is missing", what_, key);
    return *value;
  }
  const std::string& GetString(const char* key) const {
    const Json& value = Get(key);
    FATHOM_USER_CHECK(value.is_string(), "{}: '{}' must be a string, got {}", what_, key, value.type_name());
    return value.get_ref<const std::string&>();
  }
  std::string GetString(const char* key, const char* fallback) const { return Find(key) ? GetString(key) : fallback; }
  bool GetBool(const char* key, bool fallback) const {
    const Json* value = Find(key);
    if (value == nullptr) return fallback;
    FATHOM_USER_CHECK(value->is_boolean(), "{}: '{}' must be true or false, got {}", what_, key, value->type_name());
    return value->get<bool>();
  }
  // An integer in [low, high].
  int64_t GetInt(const char* key, int64_t low, int64_t high) const {
    const Json& value = Get(key);
    FATHOM_USER_CHECK(value.is_number_integer() && !(value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX) &&
                          value.get<int64_t>() >= low && value.get<int64_t>() <= high,
                      "{}: '{}' must be an integer from {} to {}", what_, key, low, high);
    return value.get<int64_t>();
  }
  const Json& GetArray(const char* key) const {
    const Json& value = Get(key);
    FATHOM_USER_CHECK(value.is_array(), "{}: '{}' must be an array, got {}", what_, key, value.type_name());
    return value;
  }

 private:
  const Json& json_;
  std::string what_;
};

}  // namespace fathom
