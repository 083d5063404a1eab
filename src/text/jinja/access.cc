#include "text/jinja/access.h"

#include <algorithm>
#include <string>

#include "text/jinja/builtins.h"
#include "text/jinja/errors.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"

namespace fathom::jinja {
namespace {

template <size_t N>
bool IsOneOf(std::string_view name, const std::string_view (&names)[N]) {
  return std::find(names, names + N, name) != names + N;
}

bool ChangesObject(const Value& object, std::string_view name) {
  static constexpr std::string_view kOfDict[] = {"clear", "pop", "popitem", "setdefault", "update"};
  static constexpr std::string_view kOfList[] = {"append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"};
  if (object.Is(Kind::kDict)) return IsOneOf(name, kOfDict);
  return object.Is(Kind::kList) && IsOneOf(name, kOfList);
}

bool IsDunder(std::string_view name) { return name.size() > 4 && name.starts_with("__") && name.ends_with("__"); }

bool HasDunder(std::string_view name) {
  static constexpr std::string_view kOfObject[] = {
      "__class__", "__doc__", "__init__", "__new__", "__dir__", "__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__",
      "__repr__", "__str__", "__format__", "__sizeof__", "__reduce__", "__reduce_ex__", "__getattribute__", "__setattr__", "__delattr__",
      "__init_subclass__", "__subclasshook__", "__getstate__"};
  return IsOneOf(name, kOfObject);
}

Value MakeUnsafe(const Value& object, std::string_view name) {
  const Value out = MakeUndefined(fmt::format("access to attribute {} of {} object is unsafe.", ReprText(name), ReprText(TypeName(object))));
  static_cast<UndefinedObject*>(out.object())->unsafe = true;
  return out;
}

Value NumberAttribute(const Value& object, std::string_view name) {
  const bool real = object.Is(Kind::kFloat);
  if (name == "real") return real ? object : Value::Integer(object.AsInt());
  if (name == "imag") return real ? Value::Float(0) : Value::Integer(0);
  if (!real && name == "numerator") return Value::Integer(object.AsInt());
  if (!real && name == "denominator") return Value::Integer(1);
  return Value();
}

// What getattr(object, name) gives under the sandbox; kMissing: AttributeError.
Value SafeAttribute(const Value& object, std::string_view name) {
  if (ChangesObject(object, name) || (IsDunder(name) && HasDunder(name) && !object.Is(Kind::kObject))) return MakeUnsafe(object, name);
  if (name.starts_with("_") && !object.Is(Kind::kObject)) return Value();
  Value found = FindAttribute(object, name);
  if (!found.IsMissing() && name.starts_with("_")) return MakeUnsafe(object, name);
  return found;
}

}  // namespace

Value FindAttribute(const Value& object, std::string_view name) {
  if (object.IsUndefined()) FailUndefined(object);
  if (object.Is(Kind::kObject)) return object.object()->GetAttribute(name);
  if (object.IsNumber()) {
    const Value number = NumberAttribute(object, name);
    if (!number.IsMissing()) return number;
  }
  if (object.Is(Kind::kRange)) {
    const RangeObject& range = object.range();
    if (name == "start") return Value::Integer(range.start);
    if (name == "stop") return Value::Integer(range.stop);
    if (name == "step") return Value::Integer(range.step);
  }
  if (object.Is(Kind::kTuple) && static_cast<SequenceObject*>(object.object())->group) {
    if (name == "grouper") return object.items()[0];
    if (name == "list") return object.items()[1];
  }
  const FilterFunction method = FindMethod(object, name);
  return method == nullptr ? Value() : MakeFunction(std::string(name), object, method);
}

Value GetAttribute(const Value& object, std::string_view name) {
  if (object.IsUndefined()) FailUndefined(object);
  Value found = SafeAttribute(object, name);
  if (!found.IsMissing()) return found;
  if (object.Is(Kind::kDict)) {
    if (const Value* value = object.dict().Find(name)) return *value;
  }
  return MakeUndefinedAttribute(object, Value::String(std::string(name)));
}

Value GetItem(const Value& object, const Value& index) {
  try {
    if (object.Is(Kind::kDict) && index.IsString()) {  // the common case, without an exception for an absent key
      if (const Value* value = object.dict().Find(std::string_view(index.text()))) return *value;
    } else {
      return Subscript(object, index);
    }
  } catch (const RenderError& error) {
    if (error.error_class() != ErrorClass::kType && error.error_class() != ErrorClass::kLookup) throw;
  }
  if (index.IsString()) {
    Value found = SafeAttribute(object, index.text());
    if (!found.IsMissing()) return found;
  }
  return MakeUndefinedAttribute(object, index);
}

}  // namespace fathom::jinja
