// Filters that look at each item, or at an attribute of it.
#include <algorithm>
#include <unordered_set>

#include "text/jinja/access.h"
#include "text/jinja/builtins.h"
#include "text/jinja/errors.h"
#include "text/jinja/filters.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"
#include "text/jinja/text_search.h"
#include "text/jinja/unicode.h"

namespace fathom::jinja {
namespace {

bool IsSet(const Value& value) { return !value.IsMissing() && Truth(value); }

FilterFunction RequireFunction(FilterFunction function, const char* kind, const Value& name) {
  if (function == nullptr) Fail(ErrorClass::kTemplate, "No {} named {}.", kind, Repr(name));
  return function;
}

CallArgs ArgumentsFrom(const CallArgs& args, size_t first) {
  return {{args.positional.begin() + static_cast<std::ptrdiff_t>(first), args.positional.end()}, args.keyword};
}

using ItemFunction = std::function<Value(const Value&)>;

ItemFunction PrepareMap(Interpreter& interpreter, const CallArgs& args) {
  const auto find = [&](const char* name) {
    for (const auto& [key, value] : args.keyword) if (key == name) return value;
    return Value();
  };
  if (args.positional.empty() && !find("attribute").IsMissing()) {
    for (const auto& [key, value] : args.keyword) {
      if (key != "attribute" && key != "default") Fail(ErrorClass::kTemplate, "Unexpected keyword argument {}", ReprText(key));
    }
    return [path = find("attribute"), fallback = find("default")](const Value& item) { return LookUpPath(item, path, fallback); };
  }
  if (args.positional.empty()) Fail(ErrorClass::kTemplate, "map requires a filter argument");
  const Value name = args.positional[0];
  return [&interpreter, name, rest = ArgumentsFrom(args, 1)](const Value& item) {
    const FilterFunction filter = RequireFunction(name.IsString() ? FindFilter(name.text()) : nullptr, "filter", name);
    interpreter.budget().ChargeValue(item);
    return filter(interpreter, item, rest);
  };
}

Value FilterMap(Interpreter& interpreter, const Value& value, const CallArgs& args) {
  return MakeGenerator([&interpreter, value, args, iterator = Value(), function = ItemFunction()](Value* out) mutable {
    if (iterator.IsMissing()) {
      if (!Truth(value)) return false;
      function = PrepareMap(interpreter, args);
      iterator = Iterate(value);
    }
    Value item;
    if (!iterator.iterator().Next(&item)) return false;
    interpreter.budget().Charge(1);
    *out = function(item);
    return true;
  });
}

ItemFunction PrepareTest(Interpreter& interpreter, const CallArgs& args, bool by_attribute) {
  const size_t offset = by_attribute ? 1 : 0;
  if (args.positional.size() < offset) Fail(ErrorClass::kTemplate, "Missing parameter for attribute name");
  const Value path = by_attribute ? args.positional[0] : Value();
  if (args.positional.size() == offset) return [path](const Value& item) { return LookUpPath(item, path, Value()); };
  const Value name = args.positional[offset];
  return [&interpreter, path, name, rest = ArgumentsFrom(args, offset + 1)](const Value& item) {
    const Value tested = LookUpPath(item, path, Value());
    const FilterFunction test = RequireFunction(name.IsString() ? FindTest(name.text()) : nullptr, "test", name);
    interpreter.budget().ChargeValue(tested);
    return test(interpreter, tested, rest);
  };
}

template <bool kKeep, bool kByAttribute>
Value FilterSelect(Interpreter& interpreter, const Value& value, const CallArgs& args) {
  return MakeGenerator([&interpreter, value, args, iterator = Value(), test = ItemFunction()](Value* out) mutable {
    if (iterator.IsMissing()) {
      if (!Truth(value)) return false;
      test = PrepareTest(interpreter, args, kByAttribute);
      iterator = Iterate(value);
    }
    for (Value item; iterator.iterator().Next(&item);) {
      interpreter.budget().Charge(1);
      if (Truth(test(item)) != kKeep) continue;
      *out = std::move(item);
      return true;
    }
    return false;
  });
}

using Keyed = std::pair<Value, Value>;  // what to order by, the item

void SortKeyed(std::vector<Keyed>* keyed, bool reverse, Budget& budget) {
  if (reverse) std::reverse(keyed->begin(), keyed->end());
  std::stable_sort(keyed->begin(), keyed->end(), [&](const Keyed& a, const Keyed& b) {
    budget.Charge(1);
    budget.ChargeValue(a.first);
    return Compare(Order::kLess, a.first, b.first);
  });
  if (reverse) std::reverse(keyed->begin(), keyed->end());
}

Value FilterSort(Interpreter& interpreter, const Value& value, const CallArgs& args) {
  const std::vector<Value> bound = Bind("sort", args, {"reverse", "case_sensitive", "attribute"}, 0);
  std::vector<Value> paths;
  if (!bound[2].IsMissing() && bound[2].IsString()) {
    for (const std::string_view path : Split(bound[2].text(), ",", -1)) paths.push_back(Value::String(std::string(path)));
  } else {
    paths.push_back(bound[2]);
  }
  std::vector<Keyed> keyed;
  for (Value& item : Collect(value, interpreter.budget())) {
    std::vector<Value> key;
    for (const Value& path : paths) {
      Value part = LookUpPath(item, path, Value());
      key.push_back(IsSet(bound[1]) ? std::move(part) : IgnoreCase(part));
    }
    keyed.emplace_back(Value::List(std::move(key)), std::move(item));
  }
  SortKeyed(&keyed, IsSet(bound[0]), interpreter.budget());
  std::vector<Value> out;
  for (auto& [key, item] : keyed) out.push_back(std::move(item));
  return Value::List(std::move(out));
}

struct ValueHash {
  size_t operator()(const Value& v) const { return Hash(v); }
};
struct ValueEqual {
  bool operator()(const Value& a, const Value& b) const { return Equal(a, b); }
};

Value FilterUnique(Interpreter& interpreter, const Value& value, const CallArgs& args) {
  const std::vector<Value> bound = Bind("unique", args, {"case_sensitive", "attribute"}, 0);
  const bool case_sensitive = IsSet(bound[0]);
  return MakeGenerator([&interpreter, value, case_sensitive, path = bound[1], iterator = Value(),
                        seen = std::unordered_set<Value, ValueHash, ValueEqual>()](Value* out) mutable {
    if (iterator.IsMissing()) iterator = Iterate(value);
    for (Value item; iterator.iterator().Next(&item);) {
      interpreter.budget().Charge(1);
      Value key = LookUpPath(item, path, Value());
      if (!seen.insert(case_sensitive ? key : IgnoreCase(key)).second) continue;
      *out = std::move(item);
      return true;
    }
    return false;
  });
}

template <bool kMaximum>
Value FilterExtreme(Interpreter& interpreter, const Value& value, const CallArgs& args) {
  const std::vector<Value> bound = Bind(kMaximum ? "max" : "min", args, {"case_sensitive", "attribute"}, 0);
  const Value iterator = Iterate(value);
  Value best;
  Value best_key;
  for (Value item; iterator.iterator().Next(&item);) {
    interpreter.budget().Charge(1);
    Value key = LookUpPath(item, bound[1], Value());
    if (!IsSet(bound[0])) key = IgnoreCase(key);
    if (!best.IsMissing() && !Compare(kMaximum ? Order::kGreater : Order::kLess, key, best_key)) continue;
    best = std::move(item);
    best_key = std::move(key);
  }
  return best.IsMissing() ? MakeUndefined("No aggregated item, sequence was empty.") : best;
}

Value FilterGroupBy(Interpreter& interpreter, const Value& value, const CallArgs& args) {
  const std::vector<Value> bound = Bind("groupby", args, {"attribute", "default", "case_sensitive"}, 1);
  std::vector<Keyed> keyed;
  for (Value& item : Collect(value, interpreter.budget())) {
    Value key = LookUpPath(item, bound[0], bound[1]);
    keyed.emplace_back(IsSet(bound[2]) ? std::move(key) : IgnoreCase(key), std::move(item));
  }
  SortKeyed(&keyed, false, interpreter.budget());
  std::vector<Value> out;
  for (size_t begin = 0; begin < keyed.size();) {
    std::vector<Value> group;
    size_t end = begin;
    for (; end < keyed.size() && Equal(keyed[end].first, keyed[begin].first); ++end) group.push_back(keyed[end].second);
    if (end == begin) group.push_back(keyed[end++].second);  // a key unequal to itself
    const Value grouper = IsSet(bound[2]) ? keyed[begin].first : LookUpPath(group[0], bound[0], bound[1]);
    const Value pair = Value::Tuple({grouper, Value::List(std::move(group))});
    static_cast<SequenceObject*>(pair.object())->group = true;
    out.push_back(pair);
    begin = end;
  }
  return Value::List(std::move(out));
}

Value FilterSum(Interpreter& interpreter, const Value& value, const CallArgs& args) {
  const std::vector<Value> bound = Bind("sum", args, {"attribute", "start"}, 0);
  Value total = bound[1].IsMissing() ? Value::Integer(0) : bound[1];
  if (total.IsString()) FailType("sum() can't sum strings [use ''.join(seq) instead]");
  const Value iterator = Iterate(value);
  for (Value item; iterator.iterator().Next(&item);) {
    interpreter.budget().Charge(1);
    if (!Absent(bound[0])) item = LookUpPath(item, bound[0], Value());
    total = Apply(Arithmetic::kAdd, total, item, interpreter.budget());
  }
  return total;
}

}  // namespace

Value LookUpPath(const Value& item, const Value& path, const Value& fallback) {
  if (Absent(path)) return item;
  const auto step = [&](const Value& from, const Value& part) {
    Value next = GetItem(from, part);
    return next.IsUndefined() && !Absent(fallback) ? fallback : next;
  };
  if (!path.IsString()) return step(item, path);
  Value out = item;
  for (const std::string_view part : Split(path.text(), ".", -1)) {
    const bool number = !part.empty() && part.size() < 18 && std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    out = step(out, number ? Value::Integer(std::stoll(std::string(part))) : Value::String(std::string(part)));
  }
  return out;
}

Value IgnoreCase(const Value& value) { return value.IsString() ? Value::String(Lower(value.text()), value.IsMarkup()) : value; }

const FilterTable& SelectionFilters() {
  static const FilterTable kTable = {
      {"map", FilterMap}, {"select", FilterSelect<true, false>}, {"reject", FilterSelect<false, false>},
      {"selectattr", FilterSelect<true, true>}, {"rejectattr", FilterSelect<false, true>}, {"sort", FilterSort},
      {"unique", FilterUnique}, {"min", FilterExtreme<false>}, {"max", FilterExtreme<true>}, {"groupby", FilterGroupBy},
      {"sum", FilterSum}};
  return kTable;
}

}  // namespace fathom::jinja
