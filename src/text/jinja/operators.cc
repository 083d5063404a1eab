#include "text/jinja/operators.h"

#include <functional>

#include "text/jinja/errors.h"
#include "text/jinja/printing.h"
#include "text/jinja/unicode.h"

namespace fathom::jinja {
namespace {

const char* Symbol(Order order) {
  switch (order) {
    case Order::kLess: return "<";
    case Order::kLessEqual: return "<=";
    case Order::kGreater: return ">";
    case Order::kGreaterEqual: return ">=";
  }
  return "";
}

template <typename T>
bool Decide(Order order, const T& a, const T& b) {
  switch (order) {
    case Order::kLess: return a < b;
    case Order::kLessEqual: return a <= b;
    case Order::kGreater: return a > b;
    case Order::kGreaterEqual: return a >= b;
  }
  return false;
}

bool EqualDicts(const DictObject& a, const DictObject& b) {
  if (a.entries.size() != b.entries.size()) return false;
  for (const auto& [key, value] : a.entries) {
    const Value* other = b.Find(key);
    if (other == nullptr || !Equal(value, *other)) return false;
  }
  return true;
}

bool EqualItems(const std::vector<Value>& a, const std::vector<Value>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!Same(a[i], b[i]) && !Equal(a[i], b[i])) return false;
  }
  return true;
}

}  // namespace

void Budget::Charge(int64_t steps) {
  steps_ += steps;
  if (steps_ > max_steps_) Fail(ErrorClass::kLimit, "the template takes more than {} steps", max_steps_);
}

void Budget::ChargeValue(const Value& value) {
  if (value.IsString()) ChargeBytes(value.text().size());
  else if (value.IsSequence()) ChargeItems(value.items().size());
  else if (value.Is(Kind::kDict)) ChargeItems(value.dict().entries.size());
}

void Budget::CheckBytes(size_t bytes) {
  if (bytes > kMaxBytes) Fail(ErrorClass::kLimit, "a text longer than {} MiB", kMaxBytes >> 20);
  ChargeBytes(bytes);
}

void FailUndefined(const Value& undefined) {
  throw RenderError(ErrorClass::kUndefined, undefined.undefined().message);
}

bool Truth(const Value& value) {
  switch (value.kind()) {
    case Kind::kMissing: case Kind::kUndefined: case Kind::kNone: return false;
    case Kind::kBool: case Kind::kInt: return value.AsInt() != 0;
    case Kind::kFloat: return value.AsDouble() != 0;
    case Kind::kString: return !value.text().empty();
    case Kind::kList: case Kind::kTuple: return !value.items().empty();
    case Kind::kDict: return !value.dict().entries.empty();
    case Kind::kRange: return value.range().size() > 0;
    case Kind::kView: return !value.view().dict->entries.empty();
    case Kind::kIterator: case Kind::kObject: return true;
  }
  return false;
}

bool Same(const Value& a, const Value& b) {
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kMissing: case Kind::kNone: return true;
    case Kind::kBool: case Kind::kInt: return a.AsInt() == b.AsInt();
    case Kind::kFloat: return a.AsDouble() == b.AsDouble();
    case Kind::kString: return a.object() == b.object() || a.text() == b.text();
    case Kind::kTuple: return a.object() == b.object() || (a.items().empty() && b.items().empty());
    default: return a.object() == b.object();
  }
}

bool Equal(const Value& a, const Value& b) {
  const NestingGuard guard;
  if (a.IsNumber() && b.IsNumber()) {
    if (a.IsIntegral() && b.IsIntegral()) return a.AsInt() == b.AsInt();
    if (a.Is(Kind::kFloat) && b.Is(Kind::kFloat)) return a.AsDouble() == b.AsDouble();
    const auto wide = [](const Value& v) {
      return v.IsIntegral() ? static_cast<long double>(v.AsInt()) : static_cast<long double>(v.AsDouble());
    };
    return wide(a) == wide(b);
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kMissing: case Kind::kUndefined: case Kind::kNone: return true;
    case Kind::kString: return a.text() == b.text();
    case Kind::kList: case Kind::kTuple: return EqualItems(a.items(), b.items());
    case Kind::kDict: return EqualDicts(a.dict(), b.dict());
    case Kind::kRange: {
      const RangeObject &x = a.range(), &y = b.range();
      const int64_t size = x.size();
      if (size != y.size()) return false;
      return size == 0 || (x.start == y.start && (size == 1 || x.step == y.step));
    }
    case Kind::kView: {
      if (a.view().what != b.view().what || a.view().what == ViewObject::What::kValues) return a.object() == b.object();
      if (a.view().what == ViewObject::What::kItems) return EqualDicts(*a.view().dict, *b.view().dict);
      if (a.view().dict->entries.size() != b.view().dict->entries.size()) return false;
      for (const auto& [key, value] : a.view().dict->entries) if (b.view().dict->Find(key) == nullptr) return false;
      return true;
    }
    default: return a.object() == b.object();
  }
}

size_t HashText(std::string_view text) { return std::hash<std::string_view>()(text); }

size_t Hash(const Value& value) {
  const NestingGuard guard;
  switch (value.kind()) {
    case Kind::kMissing: case Kind::kUndefined: case Kind::kNone: return static_cast<size_t>(value.kind());
    case Kind::kBool: case Kind::kInt: case Kind::kFloat: return std::hash<double>()(value.AsDouble() == 0 ? 0.0 : value.AsDouble());
    case Kind::kString: return HashText(value.text());
    case Kind::kTuple: {
      size_t hash = 0x345678;
      for (const Value& item : value.items()) hash = (hash ^ Hash(item)) * 1000003 + 82520;
      return hash;
    }
    case Kind::kRange: return static_cast<size_t>(value.range().size());
    case Kind::kList: case Kind::kDict: FailType("unhashable type: '{}'", TypeName(value));
    case Kind::kView:
      if (value.view().what != ViewObject::What::kValues) FailType("unhashable type: '{}'", TypeName(value));
      [[fallthrough]];
    default: return std::hash<const void*>()(value.object());
  }
}

bool Compare(Order order, const Value& a, const Value& b) {
  const NestingGuard guard;
  if (a.IsUndefined()) FailUndefined(a);
  if (b.IsUndefined()) FailUndefined(b);
  if (a.IsNumber() && b.IsNumber()) {
    if (a.IsIntegral() && b.IsIntegral()) return Decide(order, a.AsInt(), b.AsInt());
    return Decide(order, a.AsDouble(), b.AsDouble());
  }
  if (a.IsString() && b.IsString()) return Decide(order, a.text().compare(b.text()), 0);
  if (a.IsSequence() && a.kind() == b.kind()) {
    const auto &x = a.items(), &y = b.items();
    for (size_t i = 0; i < x.size() && i < y.size(); ++i) {
      if (!Same(x[i], y[i]) && !Equal(x[i], y[i])) return Compare(order, x[i], y[i]);
    }
    return Decide(order, x.size(), y.size());
  }
  FailType("'{}' not supported between instances of '{}' and '{}'", Symbol(order), TypeName(a), TypeName(b));
}

bool Contains(const Value& container, const Value& item) {
  switch (container.kind()) {
    case Kind::kString:
      if (!item.IsString()) FailType("'in <string>' requires string as left operand, not {}", TypeName(item));
      return container.text().find(item.text()) != std::string::npos;
    case Kind::kDict: return container.dict().Find(item) != nullptr;
    case Kind::kView:
      if (container.view().what == ViewObject::What::kKeys) return container.view().dict->Find(item) != nullptr;
      break;
    case Kind::kRange: {
      if (!item.IsNumber()) return false;
      const RangeObject& r = container.range();
      const double x = item.AsDouble();
      if (x != static_cast<double>(static_cast<int64_t>(x))) return false;
      const auto n = static_cast<int64_t>(x);
      const bool inside = r.step > 0 ? n >= r.start && n < r.stop : n <= r.start && n > r.stop;
      return inside && (n - r.start) % r.step == 0;
    }
    default: break;
  }
  if (!IsIterable(container)) FailType("argument of type '{}' is not iterable", TypeName(container));
  const Value iterator = Iterate(container);
  for (Value next; iterator.iterator().Next(&next);) if (Same(next, item) || Equal(next, item)) return true;
  return false;
}

}  // namespace fathom::jinja
