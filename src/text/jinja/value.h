// Values of a template: Python's, as far as a template can see them. A Value is 32 bytes; strings and containers are
// shared, immutable and counted. Only Namespace (and the loop, cycler, joiner objects) change after construction.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace fathom::jinja {

class Interpreter;
class Value;
struct CallArgs;

// Python's integers have any size; ours have 128 bits and an operation that overflows is an error.
using Int = __int128;

enum class Kind : uint8_t {
  kMissing,  // no value at all: an unset variable, an argument not given; a template never sees it
  kUndefined, kNone, kBool, kInt, kFloat, kString, kList, kTuple, kDict, kRange, kView, kIterator,
  kObject,   // namespace, loop, macro, function, bound method, cycler, joiner
};

// What shared values derive from. Deletion is queued, so that a long chain of values does not overflow the stack.
class Object {
 public:
  Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual ~Object() = default;
  void Retain() { refs_.fetch_add(1, std::memory_order_relaxed); }
  void Release() {
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) Destroy(this);
  }

  int refs() const { return refs_.load(std::memory_order_relaxed); }

  // For Kind::kObject: Python's type name, repr(), an attribute (kMissing: none), and the call.
  virtual std::string TypeName() const { return "object"; }
  virtual std::string Repr() { return "<" + TypeName() + " object>"; }
  virtual Value GetAttribute(std::string_view name);
  virtual bool IsCallable() const { return false; }
  virtual Value Call(Interpreter& interpreter, const CallArgs& args);

 private:
  static void Destroy(Object* object);
  std::atomic<int> refs_{0};
};

// A counted pointer to an Object.
template <typename T>
class Ref {
 public:
  Ref() = default;
  explicit Ref(T* object) : object_(object) { if (object_) object_->Retain(); }
  Ref(const Ref& other) : Ref(other.object_) {}
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Ref& operator=(Ref other) noexcept { std::swap(object_, other.object_); return *this; }
  ~Ref() { if (object_) object_->Release(); }
  T* get() const { return object_; }
  T* operator->() const { return object_; }
  T& operator*() const { return *object_; }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  T* object_ = nullptr;
};

struct StringObject;
struct SequenceObject;
struct DictObject;
struct RangeObject;
struct ViewObject;
struct IteratorObject;
struct UndefinedObject;

class Value {
 public:
  Value() = default;
  Value(const Value& other);
  Value(Value&& other) noexcept : kind_(std::exchange(other.kind_, Kind::kMissing)), as_(other.as_) {}
  Value& operator=(Value other) noexcept {
    std::swap(kind_, other.kind_);
    std::swap(as_, other.as_);
    return *this;
  }
  ~Value() { if (IsShared()) as_.object->Release(); }

  static Value None();
  static Value Bool(bool value);
  static Value Integer(Int value);
  static Value Float(double value);
  static Value String(std::string text, bool markup = false);
  static Value List(std::vector<Value> items);
  static Value Tuple(std::vector<Value> items);
  static Value Of(Kind kind, Object* object);
  static Value Of(Object* object) { return Of(Kind::kObject, object); }

  Kind kind() const { return kind_; }
  bool Is(Kind kind) const { return kind_ == kind; }
  bool IsMissing() const { return kind_ == Kind::kMissing; }
  bool IsUndefined() const { return kind_ == Kind::kUndefined; }
  bool IsNone() const { return kind_ == Kind::kNone; }
  bool IsString() const { return kind_ == Kind::kString; }
  bool IsMarkup() const;
  bool IsIntegral() const { return kind_ == Kind::kInt || kind_ == Kind::kBool; }
  bool IsNumber() const { return IsIntegral() || kind_ == Kind::kFloat; }
  bool IsSequence() const { return kind_ == Kind::kList || kind_ == Kind::kTuple; }

  // Each requires the kind it names; AsInt takes a bool too, AsDouble any number.
  bool AsBool() const { return as_.integer != 0; }
  Int AsInt() const { return as_.integer; }
  double AsDouble() const { return kind_ == Kind::kFloat ? as_.real : static_cast<double>(as_.integer); }
  const std::string& text() const;
  const std::vector<Value>& items() const;
  const DictObject& dict() const;
  const RangeObject& range() const;
  const ViewObject& view() const;
  IteratorObject& iterator() const;
  const UndefinedObject& undefined() const;
  Object* object() const { return as_.object; }

 private:
  bool IsShared() const { return kind_ >= Kind::kString || kind_ == Kind::kUndefined; }
  Kind kind_ = Kind::kMissing;
  union {
    Int integer;
    double real;
    Object* object;
  } as_{0};
};

struct StringObject : Object {
  std::string text;     // UTF-8
  bool markup = false;  // markupsafe.Markup
};

struct SequenceObject : Object {
  std::vector<Value> items;
  bool group = false;  // the named tuple of groupby: attributes `grouper` and `list`
};

// Ordered as Python's dict; keys are hashable values.
struct DictObject : Object {
  std::vector<std::pair<Value, Value>> entries;
  std::unordered_multimap<size_t, size_t> index;  // hash to position

  // Sets or replaces. Throws TypeError for a key that has no hash.
  void Set(const Value& key, Value value);
  // nullptr: no such key. Throws TypeError for a key that has no hash.
  const Value* Find(const Value& key) const;
  const Value* Find(std::string_view key) const;
};

struct RangeObject : Object {
  int64_t start = 0, stop = 0, step = 1;
  int64_t size() const;
};

// dict.keys(), values(), items().
struct ViewObject : Object {
  enum class What { kKeys, kValues, kItems } what = What::kKeys;
  Ref<DictObject> dict;
};

// A Python iterator: what generators give; each item once.
struct IteratorObject : Object {
  virtual bool Next(Value* item) = 0;
  const char* type_name = "generator";
  std::string TypeName() const override { return type_name; }
};

// jinja2.Undefined: prints as nothing, is false, and fails with `message` in any other use.
struct UndefinedObject : Object {
  std::string message;
  bool unsafe = false;  // the sandbox's: fails as SecurityError
};

struct CallArgs {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> keyword;
};

Value MakeUndefined(std::string message);
// Undefined as reading `name` of `object` gives it.
Value MakeUndefinedAttribute(const Value& object, const Value& name);

inline bool Absent(const Value& value) { return value.IsMissing() || value.IsNone(); }

}  // namespace fathom::jinja
