// Reading the fields of a request's JSON object: each getter checks kind and range and says in its error which field, which rule, which value.
// A field that is absent or null counts as not given.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace fathom {

// The body of a request. Throws UserError for what is no JSON, nests too deep, or has an object of more than kMostKeys keys: objects that keep the
// order of their keys take a time that grows with the square of their number.
OrderedJson ParseBody(std::string_view text);
inline constexpr int64_t kMostKeys = 2048;

class JsonFields {
 public:
  // `object` must outlive it. `where` stands before the names in errors ("messages[0]."). Throws ApiError when it is no object.
  explicit JsonFields(const OrderedJson& object, std::string where = "");

  const OrderedJson* Find(const char* name) const;  // null: not given
  bool Has(const char* name) const { return Find(name) != nullptr; }
  std::optional<double> Number(const char* name, double least, double most) const;
  std::optional<int64_t> Integer(const char* name, int64_t least, int64_t most) const;
  std::optional<bool> Boolean(const char* name) const;
  std::optional<std::string> Text(const char* name) const;
  // A string or an array of strings.
  std::vector<std::string> Texts(const char* name, size_t most) const;
  // An array of token ids.
  std::vector<int32_t> TokenIds(const char* name) const;
  std::string NameOf(const char* name) const { return where_ + name; }

 private:
  const OrderedJson& object_;
  std::string where_;
};

// The value as it stands in an error, cut to a short text.
std::string Shown(const OrderedJson& value);
// An array of integers as token ids; `name` for errors.
std::vector<int32_t> ReadTokenIds(const OrderedJson& array, const std::string& name);

}  // namespace fathom
