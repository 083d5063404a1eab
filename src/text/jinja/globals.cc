// range, dict, namespace, cycler, joiner, raise_exception, strftime_now.
#include <ctime>
#include <map>

#include "text/jinja/builtins.h"
#include "text/jinja/errors.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/namespace_object.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"

namespace fathom::jinja {
namespace {

constexpr int64_t kMaxRange = 100'000;  // jinja2.sandbox.MAX_RANGE

// dict(...) of Python: a dict or pairs, then keywords.
void FillDict(DictObject* dict, const CallArgs& args, const char* function, Budget& budget) {
  if (args.positional.size() > 1) FailType("{} expected at most 1 argument, got {}", function, args.positional.size());
  if (!args.positional.empty()) {
    const Value& source = args.positional[0];
    if (source.Is(Kind::kDict)) {
      for (const auto& [key, value] : source.dict().entries) dict->Set(key, value);
      budget.Charge(static_cast<int64_t>(source.dict().entries.size()));
    } else {
      size_t i = 0;
      for (const Value& item : Collect(source, budget)) {
        if (!IsIterable(item)) FailType("cannot convert dictionary update sequence element #{} to a sequence", i);
        const std::vector<Value> pair = Collect(item, budget);
        if (pair.size() != 2) FailValue("dictionary update sequence element #{} has length {}; 2 is required", i, pair.size());
        dict->Set(pair[0], pair[1]);
        ++i;
      }
    }
  }
  for (const auto& [name, value] : args.keyword) dict->Set(Value::String(name), value);
}

Value CallRange(Interpreter&, const Value&, const CallArgs& args) {
  if (!args.keyword.empty()) FailType("range() takes no keyword arguments");
  const size_t count = args.positional.size();
  if (count == 0 || count > 3) FailType("range expected {} arguments, got {}", count == 0 ? "at least 1" : "at most 3", count);
  auto* range = new RangeObject;
  const Value out = Value::Of(Kind::kRange, range);
  if (count > 1) range->start = IntegerArgument(args.positional[0]);
  range->stop = IntegerArgument(args.positional[count > 1 ? 1 : 0]);
  if (count > 2) range->step = IntegerArgument(args.positional[2]);
  if (range->step == 0) FailValue("range() arg 3 must not be zero");
  if (range->size() > kMaxRange) {
    Fail(ErrorClass::kArithmetic, "Range too big. The sandbox blocks ranges larger than MAX_RANGE ({}).", kMaxRange);
  }
  return out;
}

Value CallDict(Interpreter& interpreter, const Value&, const CallArgs& args) {
  Ref<DictObject> dict(new DictObject);
  FillDict(dict.get(), args, "dict", interpreter.budget());
  return Value::Of(Kind::kDict, dict.get());
}

Value CallNamespace(Interpreter& interpreter, const Value&, const CallArgs& args) {
  Ref<NamespaceObject> object(new NamespaceObject);
  FillDict(&object->attributes, args, "dict", interpreter.budget());
  interpreter.Track(object.get());
  return Value::Of(object.get());
}

class CyclerObject : public Object {
 public:
  explicit CyclerObject(std::vector<Value> items) : items_(std::move(items)) {}
  std::string TypeName() const override { return "Cycler"; }
  Value GetAttribute(std::string_view name) override {
    if (name == "current") return items_[position_];
    if (name == "items") return Value::Tuple(items_);
    if (name == "pos") return Value::Integer(static_cast<Int>(position_));
    if (name == "next") {
      return MakeFunction("next", Value::Of(this), [](Interpreter&, const Value& v, const CallArgs& args) {
        RefuseArguments("Cycler.next", args);
        auto* cycler = static_cast<CyclerObject*>(v.object());
        const Value out = cycler->items_[cycler->position_];
        cycler->position_ = (cycler->position_ + 1) % cycler->items_.size();
        return out;
      });
    }
    if (name == "reset") {
      return MakeFunction("reset", Value::Of(this), [](Interpreter&, const Value& v, const CallArgs& args) {
        RefuseArguments("Cycler.reset", args);
        static_cast<CyclerObject*>(v.object())->position_ = 0;
        return Value::None();
      });
    }
    return Value();
  }

 private:
  std::vector<Value> items_;
  size_t position_ = 0;
};

class JoinerObject : public Object {
 public:
  explicit JoinerObject(Value separator) : separator_(std::move(separator)) {}
  std::string TypeName() const override { return "Joiner"; }
  Value GetAttribute(std::string_view name) override {
    if (name == "sep") return separator_;
    return name == "used" ? Value::Bool(used_) : Value();
  }
  bool IsCallable() const override { return true; }
  Value Call(Interpreter&, const CallArgs& args) override {
    RefuseArguments("Joiner.__call__", args);
    return std::exchange(used_, true) ? separator_ : Value::String("");
  }

 private:
  Value separator_;
  bool used_ = false;
};

Value CallCycler(Interpreter&, const Value&, const CallArgs& args) {
  if (!args.keyword.empty()) FailType("Cycler.__init__() got an unexpected keyword argument {}", ReprText(args.keyword[0].first));
  if (args.positional.empty()) Fail(ErrorClass::kTemplate, "at least one item has to be provided");
  return Value::Of(new CyclerObject(args.positional));
}

Value CallJoiner(Interpreter&, const Value&, const CallArgs& args) {
  const Value separator = Bind("joiner", args, {"sep"}, 0)[0];
  return Value::Of(new JoinerObject(separator.IsMissing() ? Value::String(", ") : separator));
}

Value CallRaise(Interpreter&, const Value&, const CallArgs& args) {
  const Value message = Bind("raise_exception", args, {"message"}, 1)[0];
  throw RenderError(ErrorClass::kTemplate, Str(message));
}

Value CallStrftime(Interpreter&, const Value&, const CallArgs& args) {
  const Value argument = Bind("strftime_now", args, {"format"}, 1)[0];
  const std::string& format = TextArgument("strftime", argument);
  if (format.empty()) return argument;
  if (format.size() > 4096) FailValue("a time format longer than 4096 bytes");
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  std::string out(format.size() * 32 + 256, '\0');
  out.resize(std::strftime(out.data(), out.size(), format.c_str(), &local));
  return Value::String(std::move(out));
}

}  // namespace

std::string NamespaceObject::Repr() {
  if (printing) return "<Namespace {...}>";
  printing = true;
  std::string out = "<Namespace {";
  bool first = true;
  for (const auto& [key, value] : attributes.entries) {
    if (!std::exchange(first, false)) out += ", ";
    out += jinja::Repr(key) + ": " + jinja::Repr(value);
  }
  printing = false;
  return out + "}>";
}

Value NamespaceObject::GetAttribute(std::string_view name) {
  const Value* value = attributes.Find(name);
  return value == nullptr ? Value() : *value;
}

NamespaceObject* AsNamespace(const Value& value) {
  return value.Is(Kind::kObject) ? dynamic_cast<NamespaceObject*>(value.object()) : nullptr;
}

Value FindGlobal(const std::string& name) {
  static const std::map<std::string, FilterFunction, std::less<>> kGlobals = {
      {"range", CallRange}, {"dict", CallDict}, {"namespace", CallNamespace}, {"cycler", CallCycler},
      {"joiner", CallJoiner}, {"raise_exception", CallRaise}, {"strftime_now", CallStrftime}};
  const auto it = kGlobals.find(name);
  return it == kGlobals.end() ? Value() : MakeFunction(name, Value::None(), it->second);
}

}  // namespace fathom::jinja
