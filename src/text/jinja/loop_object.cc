#include "text/jinja/loop_object.h"

#include "text/jinja/builtins.h"
#include "text/jinja/errors.h"
#include "text/jinja/operators.h"

namespace fathom::jinja {
namespace {

LoopObject& Loop(const Value& self) { return *static_cast<LoopObject*>(self.object()); }

}  // namespace

LoopObject::LoopObject(Value iterable, const Stmt* recursive, Ref<Environment> closure, int64_t depth0)
    : iterable_(std::move(iterable)), iterator_(Iterate(iterable_)), recursive_(recursive), closure_(std::move(closure)), depth0_(depth0) {}

bool LoopObject::Next(Value* item) {
  Value next = std::exchange(after_, Value());
  if (next.IsMissing() && !iterator_.iterator().Next(&next)) return false;
  ++index0_;
  before_ = std::move(current_);
  current_ = next;
  *item = std::move(next);
  return true;
}

int64_t LoopObject::Length() {
  if (length_ >= 0) return length_;
  if (HasLength(iterable_)) return length_ = jinja::Length(iterable_);
  std::vector<Value> rest;
  for (Value item; iterator_.iterator().Next(&item);) rest.push_back(std::move(item));
  length_ = static_cast<int64_t>(rest.size()) + index0_ + 1 + (after_.IsMissing() ? 0 : 1);
  iterator_ = Iterate(Value::List(std::move(rest)));
  return length_;
}

bool LoopObject::Peek() {
  if (after_.IsMissing() && !iterator_.iterator().Next(&after_)) after_ = Value();
  return !after_.IsMissing();
}

std::string LoopObject::Repr() { return fmt::format("<LoopContext {}/{}>", index0_ + 1, Length()); }

Value LoopObject::GetAttribute(std::string_view name) {
  if (name == "index0") return Value::Integer(index0_);
  if (name == "index") return Value::Integer(index0_ + 1);
  if (name == "first") return Value::Bool(index0_ == 0);
  if (name == "last") return Value::Bool(!Peek());
  if (name == "length") return Value::Integer(Length());
  if (name == "revindex") return Value::Integer(Length() - index0_);
  if (name == "revindex0") return Value::Integer(Length() - index0_ - 1);
  if (name == "depth") return Value::Integer(depth0_ + 1);
  if (name == "depth0") return Value::Integer(depth0_);
  if (name == "previtem") return index0_ == 0 ? MakeUndefined("there is no previous item") : before_;
  if (name == "nextitem") return Peek() ? after_ : MakeUndefined("there is no next item");
  if (name == "cycle") {
    return MakeFunction("cycle", Value::Of(this), [](Interpreter&, const Value& self, const CallArgs& args) { return Loop(self).Cycle(args); });
  }
  if (name == "changed") {
    return MakeFunction("changed", Value::Of(this), [](Interpreter&, const Value& self, const CallArgs& args) { return Loop(self).Changed(args); });
  }
  return Value();
}

Value LoopObject::Cycle(const CallArgs& args) const {
  if (!args.keyword.empty()) FailType("LoopContext.cycle() got an unexpected keyword argument '{}'", args.keyword[0].first);
  if (args.positional.empty()) FailType("no items for cycling given");
  return args.positional[static_cast<size_t>(index0_) % args.positional.size()];
}

Value LoopObject::Changed(const CallArgs& args) {
  Value now = Value::Tuple(args.positional);
  const bool changed = last_changed_.IsMissing() || !Equal(last_changed_, now);
  if (changed) last_changed_ = std::move(now);
  return Value::Bool(changed);
}

Value LoopObject::Call(Interpreter& interpreter, const CallArgs& args) {
  const Value iterable = Bind("loop", args, {"iterable"}, 1)[0];
  if (recursive_ == nullptr) FailType("The loop must have the 'recursive' marker to be called recursively.");
  return interpreter.CallLoop(*recursive_, closure_, iterable, depth0_ + 1);
}

}  // namespace fathom::jinja
