// Typed reading of config.json: every key is read by name with its rule, and what nobody read is judged at the end.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/json.h"

namespace fathom {

// A key whose value is null counts as absent. Every error is a UserError "<what>: <key> <rule>, got <value>".
class ConfigKeys {
 public:
  // `json` must be an object and outlive the reader; `prefix` stands before keys in errors ("rope_scaling.").
  ConfigKeys(const Json& json, std::string what, std::string prefix = "");

  bool Has(const std::string& key) const;
  // The value, marked as read; nullptr when absent.
  const Json* Find(const std::string& key);

  int64_t Int(const std::string& key, int64_t low, int64_t high);  // required
  int64_t Int(const std::string& key, int64_t low, int64_t high, int64_t otherwise);
  std::optional<int64_t> OptionalInt(const std::string& key, int64_t low, int64_t high);
  double Real(const std::string& key, double low, double high, double otherwise);
  std::optional<double> OptionalReal(const std::string& key, double low, double high);
  bool Bool(const std::string& key, bool otherwise);
  std::string String(const std::string& key, const std::string& otherwise);

  // The key may be there only with a value that changes nothing: `neutral` (or null).
  void RequireNeutral(const std::string& key, const Json& neutral, const std::string& why);

  [[noreturn]] void Refuse(const std::string& key, const std::string& rule) const;  // with the value seen
  // Keys that nobody read and that are not known to be without effect must be null, false, 0, "" or empty.
  void RefuseUnknown(const std::set<std::string>& harmless) const;

  const std::string& what() const { return what_; }

 private:
  int64_t CheckedInt(const std::string& key, const Json& value, int64_t low, int64_t high) const;

  const Json& json_;
  std::string what_, prefix_;
  std::set<std::string> read_;
};

}  // namespace fathom
