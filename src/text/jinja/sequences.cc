// Iteration, length, subscripts and slices of values.
#include <algorithm>

#include "text/jinja/errors.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"
#include "text/jinja/unicode.h"

namespace fathom::jinja {
namespace {

struct ItemsIterator : IteratorObject {
  Value source;
  size_t next = 0;
  bool Next(Value* item) override {
    if (next >= source.items().size()) return false;
    *item = source.items()[next++];
    return true;
  }
};

struct TextIterator : IteratorObject {
  Value source;
  size_t next = 0;
  bool Next(Value* item) override {
    const std::string& text = source.text();
    if (next >= text.size()) return false;
    const size_t begin = next;
    NextCodePoint(text, &next);
    *item = Value::String(text.substr(begin, next - begin));
    return true;
  }
};

struct DictIterator : IteratorObject {
  Ref<DictObject> dict;
  ViewObject::What what = ViewObject::What::kKeys;
  size_t next = 0;
  bool Next(Value* item) override {
    if (next >= dict->entries.size()) return false;
    const auto& [key, value] = dict->entries[next++];
    if (what == ViewObject::What::kKeys) *item = key;
    else if (what == ViewObject::What::kValues) *item = value;
    else *item = Value::Tuple({key, value});
    return true;
  }
};

struct RangeIterator : IteratorObject {
  int64_t next = 0, left = 0, step = 1;
  bool Next(Value* item) override {
    if (left == 0) return false;
    *item = Value::Integer(next);
    if (--left > 0) next += step;
    return true;
  }
};

struct EmptyIterator : IteratorObject {
  bool Next(Value*) override { return false; }
};

// Python's slice.indices(): how many items from where, and by which step.
struct SliceRange {
  int64_t start = 0, count = 0, step = 1;
};

int64_t ClampIndex(const Value& value, int64_t fallback, int64_t size, int64_t low, int64_t high) {
  if (value.IsNone() || value.IsMissing()) return fallback;
  if (!value.IsIntegral()) FailType("slice indices must be integers or None or have an __index__ method");
  Int i = value.AsInt();
  if (i < 0) i += size;
  return static_cast<int64_t>(std::clamp<Int>(i, low, high));
}

SliceRange ResolveSlice(int64_t size, const Value& start, const Value& stop, const Value& step) {
  SliceRange out;
  if (!step.IsNone() && !step.IsMissing()) {
    if (!step.IsIntegral()) FailType("slice indices must be integers or None or have an __index__ method");
    if (step.AsInt() == 0) FailValue("slice step cannot be zero");
    out.step = static_cast<int64_t>(std::clamp<Int>(step.AsInt(), -(Int{1} << 62), Int{1} << 62));
  }
  const bool forward = out.step > 0;
  const int64_t low = forward ? 0 : -1;
  const int64_t high = forward ? size : size - 1;
  out.start = ClampIndex(start, forward ? low : high, size, low, high);
  const int64_t end = ClampIndex(stop, forward ? high : low, size, low, high);
  if (forward && out.start < end) out.count = (end - out.start - 1) / out.step + 1;
  if (!forward && out.start > end) out.count = (out.start - end - 1) / -out.step + 1;
  return out;
}

int64_t CheckIndex(const Value& value, const Value& index, int64_t size) {
  if (!index.IsIntegral()) {
    FailType("{} indices must be integers or slices, not {}", value.IsString() ? "string" : TypeName(value), TypeName(index));
  }
  Int i = index.AsInt();
  if (i < 0) i += size;
  if (i < 0 || i >= size) Fail(ErrorClass::kLookup, "{} index out of range", value.IsString() ? "string" : TypeName(value));
  return static_cast<int64_t>(i);
}

}  // namespace

bool HasLength(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined: case Kind::kString: case Kind::kList: case Kind::kTuple: case Kind::kDict: case Kind::kRange: case Kind::kView:
      return true;
    case Kind::kObject: return TypeName(value) == "LoopContext";
    default: return false;
  }
}

int64_t Length(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined: return 0;
    case Kind::kString: return static_cast<int64_t>(CountCodePoints(value.text()));
    case Kind::kList: case Kind::kTuple: return static_cast<int64_t>(value.items().size());
    case Kind::kDict: return static_cast<int64_t>(value.dict().entries.size());
    case Kind::kRange: return value.range().size();
    case Kind::kView: return static_cast<int64_t>(value.view().dict->entries.size());
    default: break;
  }
  if (HasLength(value)) return static_cast<int64_t>(value.object()->GetAttribute("length").AsInt());
  FailType("object of type '{}' has no len()", TypeName(value));
}

bool IsIterable(const Value& value) { return value.Is(Kind::kIterator) || (HasLength(value) && !value.Is(Kind::kObject)); }

Value Iterate(const Value& value) {
  const auto make = [](IteratorObject* iterator) { return Value::Of(Kind::kIterator, iterator); };
  switch (value.kind()) {
    case Kind::kIterator: return value;
    case Kind::kUndefined: return make(new EmptyIterator);
    case Kind::kString: {
      auto* it = new TextIterator;
      it->source = value;
      return make(it);
    }
    case Kind::kList: case Kind::kTuple: {
      auto* it = new ItemsIterator;
      it->source = value;
      return make(it);
    }
    case Kind::kDict: case Kind::kView: {
      auto* it = new DictIterator;
      it->dict = value.Is(Kind::kDict) ? Ref<DictObject>(static_cast<DictObject*>(value.object())) : value.view().dict;
      if (value.Is(Kind::kView)) it->what = value.view().what;
      return make(it);
    }
    case Kind::kRange: {
      auto* it = new RangeIterator;
      it->next = value.range().start;
      it->left = value.range().size();
      it->step = value.range().step;
      return make(it);
    }
    default: FailType("'{}' object is not iterable", TypeName(value));
  }
}

std::vector<Value> Collect(const Value& value, Budget& budget) {
  const Value iterator = Iterate(value);
  std::vector<Value> out;
  for (Value item; iterator.iterator().Next(&item);) {
    budget.Charge(1);
    out.push_back(std::move(item));
  }
  return out;
}

Value Slice(const Value& value, const Value& start, const Value& stop, const Value& step) {
  if (value.IsUndefined()) FailUndefined(value);
  if (value.Is(Kind::kDict)) FailType("unhashable type: 'slice'");
  if (!value.IsString() && !value.IsSequence() && !value.Is(Kind::kRange)) FailType("'{}' object is not subscriptable", TypeName(value));
  const SliceRange range = ResolveSlice(Length(value), start, stop, step);
  if (value.IsString()) {
    const std::string& text = value.text();
    if (range.step == 1) {
      const auto begin = static_cast<size_t>(range.start);
      return Value::String(std::string(SliceCodePoints(text, begin, begin + static_cast<size_t>(range.count))), value.IsMarkup());
    }
    const std::vector<char32_t> all = Decode(text);
    std::string out;
    for (int64_t i = 0; i < range.count; ++i) AppendCodePoint(&out, all[static_cast<size_t>(range.start + i * range.step)]);
    return Value::String(std::move(out), value.IsMarkup());
  }
  if (value.Is(Kind::kRange)) {
    const RangeObject& r = value.range();
    auto* out = new RangeObject;
    out->start = r.start + range.start * r.step;
    out->step = r.step * range.step;
    out->stop = out->start + range.count * out->step;
    return Value::Of(Kind::kRange, out);
  }
  std::vector<Value> out;
  out.reserve(static_cast<size_t>(range.count));
  for (int64_t i = 0; i < range.count; ++i) out.push_back(value.items()[static_cast<size_t>(range.start + i * range.step)]);
  return value.Is(Kind::kList) ? Value::List(std::move(out)) : Value::Tuple(std::move(out));
}

Value Subscript(const Value& value, const Value& index) {
  switch (value.kind()) {
    case Kind::kUndefined: FailUndefined(value);
    case Kind::kDict: {
      const Value* found = value.dict().Find(index);
      if (found == nullptr) throw RenderError(ErrorClass::kLookup, Repr(index));
      return *found;
    }
    case Kind::kList: case Kind::kTuple:
      return value.items()[static_cast<size_t>(CheckIndex(value, index, Length(value)))];
    case Kind::kString: {
      const auto i = static_cast<size_t>(CheckIndex(value, index, Length(value)));
      return Value::String(std::string(SliceCodePoints(value.text(), i, i + 1)), value.IsMarkup());
    }
    case Kind::kRange: {
      const int64_t i = CheckIndex(value, index, value.range().size());
      return Value::Integer(value.range().start + i * value.range().step);
    }
    default: FailType("'{}' object is not subscriptable", TypeName(value));
  }
}

}  // namespace fathom::jinja
