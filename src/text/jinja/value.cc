#include "text/jinja/value.h"

#include "text/jinja/errors.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"

namespace fathom::jinja {

void Object::Destroy(Object* object) {
  // The outermost call's list. A plain pointer, so that it is still good when a template in a static goes after the thread's variables.
  thread_local std::vector<Object*>* waiting = nullptr;
  if (waiting != nullptr) {
    waiting->push_back(object);
    return;
  }
  std::vector<Object*> list;
  waiting = &list;
  delete object;
  while (!list.empty()) {
    Object* next = list.back();
    list.pop_back();
    delete next;
  }
  waiting = nullptr;
}

Value Object::GetAttribute(std::string_view) { return Value(); }
Value Object::Call(Interpreter&, const CallArgs&) { FailType("'{}' object is not callable", TypeName()); }

Value::Value(const Value& other) : kind_(other.kind_), as_(other.as_) {
  if (IsShared()) as_.object->Retain();
}

Value Value::None() {
  Value v;
  v.kind_ = Kind::kNone;
  return v;
}
Value Value::Bool(bool value) {
  Value v;
  v.kind_ = Kind::kBool;
  v.as_.integer = value ? 1 : 0;
  return v;
}
Value Value::Integer(Int value) {
  Value v;
  v.kind_ = Kind::kInt;
  v.as_.integer = value;
  return v;
}
Value Value::Float(double value) {
  Value v;
  v.kind_ = Kind::kFloat;
  v.as_.real = value;
  return v;
}
Value Value::Of(Kind kind, Object* object) {
  Value v;
  v.kind_ = kind;
  v.as_.object = object;
  object->Retain();
  return v;
}
Value Value::String(std::string text, bool markup) {
  auto* s = new StringObject;
  s->text = std::move(text);
  s->markup = markup;
  return Of(Kind::kString, s);
}
Value Value::List(std::vector<Value> items) {
  auto* s = new SequenceObject;
  s->items = std::move(items);
  return Of(Kind::kList, s);
}
Value Value::Tuple(std::vector<Value> items) {
  auto* s = new SequenceObject;
  s->items = std::move(items);
  return Of(Kind::kTuple, s);
}

bool Value::IsMarkup() const { return IsString() && static_cast<StringObject*>(as_.object)->markup; }
const std::string& Value::text() const { return static_cast<StringObject*>(as_.object)->text; }
const std::vector<Value>& Value::items() const { return static_cast<SequenceObject*>(as_.object)->items; }
const DictObject& Value::dict() const { return *static_cast<DictObject*>(as_.object); }
const RangeObject& Value::range() const { return *static_cast<RangeObject*>(as_.object); }
const ViewObject& Value::view() const { return *static_cast<ViewObject*>(as_.object); }
IteratorObject& Value::iterator() const { return *static_cast<IteratorObject*>(as_.object); }
const UndefinedObject& Value::undefined() const { return *static_cast<UndefinedObject*>(as_.object); }

void DictObject::Set(const Value& key, Value value) {
  const size_t hash = Hash(key);
  const auto [begin, end] = index.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    if (Equal(entries[it->second].first, key)) {
      entries[it->second].second = std::move(value);
      return;
    }
  }
  index.emplace(hash, entries.size());
  entries.emplace_back(key, std::move(value));
}

const Value* DictObject::Find(const Value& key) const {
  const auto [begin, end] = index.equal_range(Hash(key));
  for (auto it = begin; it != end; ++it) {
    if (Equal(entries[it->second].first, key)) return &entries[it->second].second;
  }
  return nullptr;
}

const Value* DictObject::Find(std::string_view key) const {
  const auto [begin, end] = index.equal_range(HashText(key));
  for (auto it = begin; it != end; ++it) {
    const auto& entry = entries[it->second];
    if (entry.first.IsString() && entry.first.text() == key) return &entry.second;
  }
  return nullptr;
}

int64_t RangeObject::size() const {
  if (step > 0) return start < stop ? (stop - start - 1) / step + 1 : 0;
  return start > stop ? (start - stop - 1) / -step + 1 : 0;
}

Value MakeUndefined(std::string message) {
  auto* u = new UndefinedObject;
  u->message = std::move(message);
  return Value::Of(Kind::kUndefined, u);
}

Value MakeUndefinedAttribute(const Value& object, const Value& name) {
  std::string type = object.IsNone() ? "None" : TypeName(object) + " object";
  if (!name.IsString()) return MakeUndefined(fmt::format("{} has no element {}", type, Repr(name)));
  return MakeUndefined(fmt::format("{} has no attribute {}", ReprText(type), ReprText(name.text())));
}

}  // namespace fathom::jinja
