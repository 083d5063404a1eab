// Filters on sequences and dicts as a whole.
#include <algorithm>

#include "text/jinja/access.h"
#include "text/jinja/builtins.h"
#include "text/jinja/errors.h"
#include "text/jinja/filters.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"

namespace fathom::jinja {
namespace {

Value FilterDefault(Interpreter&, const Value& value, const CallArgs& args) {
  const std::vector<Value> bound = Bind("default", args, {"default_value", "boolean"}, 0);
  const bool replace = value.IsUndefined() || (!bound[1].IsMissing() && Truth(bound[1]) && !Truth(value));
  if (!replace) return value;
  return bound[0].IsMissing() ? Value::String("") : bound[0];
}

Value FilterLength(Interpreter&, const Value& value, const CallArgs& args) {
  RefuseArguments("len", args);
  return Value::Integer(Length(value));
}

Value FilterList(Interpreter& interpreter, const Value& value, const CallArgs& args) {
  RefuseArguments("list", args);
  return Value::List(Collect(value, interpreter.budget()));
}

Value FilterFirst(Interpreter&, const Value& value, const CallArgs& args) {
  RefuseArguments("first", args);
  Value item;
  return Iterate(value).iterator().Next(&item) ? item : MakeUndefined("No first item, sequence was empty.");
}

Value FilterLast(Interpreter& interpreter, const Value& value, const CallArgs& args) {
  RefuseArguments("last", args);
  if (value.Is(Kind::kIterator) || !IsIterable(value)) FailType("'{}' object is not reversible", TypeName(value));
  std::vector<Value> items = Collect(value, interpreter.budget());
  return items.empty() ? MakeUndefined("No last item, sequence was empty.") : items.back();
}

Value FilterReverse(Interpreter& interpreter, const Value& value, const CallArgs& args) {
  RefuseArguments("reverse", args);
  if (value.IsString()) return Slice(value, Value(), Value(), Value::Integer(-1));
  if (!IsIterable(value)) Fail(ErrorClass::kTemplate, "argument must be iterable");
  std::vector<Value> items = Collect(value, interpreter.budget());
  std::reverse(items.begin(), items.end());
  const Value list = Value::List(std::move(items));
  if (value.Is(Kind::kIterator)) return list;
  const Value iterator = Iterate(list);
  return MakeGenerator([iterator](Value* item) { return iterator.iterator().Next(item); }, "list_reverseiterator");
}

Value FilterJoin(Interpreter& interpreter, const Value& value, const CallArgs& args) {
  const std::vector<Value> bound = Bind("join", args, {"d", "attribute"}, 0);
  const std::string separator = bound[0].IsMissing() ? "" : Str(bound[0]);
  const Value iterator = Iterate(value);
  std::string out;
  bool first = true;
  for (Value item; iterator.iterator().Next(&item);) {
    interpreter.budget().Charge(1);
    if (!std::exchange(first, false)) out += separator;
    if (!bound[1].IsMissing() && !bound[1].IsNone()) item = LookUpPath(item, bound[1], Value());
    out += Str(item);
    if (out.size() > Budget::kMaxBytes) break;
  }
  interpreter.budget().CheckBytes(out.size());
  return Value::String(std::move(out));
}

Value FilterItems(Interpreter&, const Value& value, const CallArgs& args) {
  RefuseArguments("items", args);
  auto state = std::make_pair(value, size_t{0});
  return MakeGenerator([state](Value* item) mutable {
    const auto& [dict, next] = state;
    if (dict.IsUndefined()) return false;
    if (!dict.Is(Kind::kDict)) FailType("Can only get item pairs from a mapping.");
    if (next >= dict.dict().entries.size()) return false;
    const auto& [key, entry] = dict.dict().entries[state.second++];
    *item = Value::Tuple({key, entry});
    return true;
  });
}

Value FilterDictSort(Interpreter& interpreter, const Value& value, const CallArgs& args) {
  const std::vector<Value> bound = Bind("dictsort", args, {"case_sensitive", "by", "reverse"}, 0);
  const bool case_sensitive = !bound[0].IsMissing() && Truth(bound[0]);
  const std::string by = bound[1].IsMissing() ? "key" : Str(bound[1]);
  const bool reverse = !bound[2].IsMissing() && Truth(bound[2]);
  if (by != "key" && by != "value") Fail(ErrorClass::kTemplate, "You can only sort by either \"key\" or \"value\"");
  if (value.IsUndefined()) FailUndefined(value);
  if (!value.Is(Kind::kDict)) FailType("'{}' object has no attribute 'items'", TypeName(value));
  std::vector<std::pair<Value, Value>> keyed;  // what to sort by, the pair
  for (const auto& [key, entry] : value.dict().entries) {
    const Value& sort_key = by == "key" ? key : entry;
    keyed.emplace_back(case_sensitive ? sort_key : IgnoreCase(sort_key), Value::Tuple({key, entry}));
    interpreter.budget().Charge(16);
  }
  if (reverse) std::reverse(keyed.begin(), keyed.end());
  std::stable_sort(keyed.begin(), keyed.end(), [](const auto& a, const auto& b) { return Compare(Order::kLess, a.first, b.first); });
  if (reverse) std::reverse(keyed.begin(), keyed.end());
  std::vector<Value> out;
  for (auto& [key, pair] : keyed) out.push_back(std::move(pair));
  return Value::List(std::move(out));
}

Value FilterBatch(Interpreter& interpreter, const Value& value, const CallArgs& args) {
  const std::vector<Value> bound = Bind("batch", args, {"linecount", "fill_with"}, 1);
  const Value count = bound[0];
  const Value fill = bound[1].IsMissing() ? Value::None() : bound[1];
  Value iterator;
  Budget& budget = interpreter.budget();
  return MakeGenerator([value, count, fill, iterator, carried = Value(), &budget](Value* out) mutable {
    if (iterator.IsMissing()) iterator = Iterate(value);
    std::vector<Value> row;
    if (!carried.IsMissing()) row.push_back(std::exchange(carried, Value()));
    for (Value item; iterator.iterator().Next(&item);) {
      budget.Charge(1);
      if (Equal(Value::Integer(static_cast<Int>(row.size())), count)) {
        carried = item;
        *out = Value::List(std::move(row));
        return true;
      }
      row.push_back(std::move(item));
    }
    if (row.empty()) return false;
    if (!fill.IsNone() && Compare(Order::kLess, Value::Integer(static_cast<Int>(row.size())), count)) {
      const auto target = static_cast<size_t>(IntegerArgument(count));
      budget.ChargeItems(target);
      row.resize(target, fill);
    }
    *out = Value::List(std::move(row));
    return true;
  });
}

Value FilterSlice(Interpreter& interpreter, const Value& value, const CallArgs& args) {
  const std::vector<Value> bound = Bind("slice", args, {"slices", "fill_with"}, 1);
  const Value fill = bound[1].IsMissing() ? Value::None() : bound[1];
  Budget& budget = interpreter.budget();
  return MakeGenerator([value, slices = bound[0], fill, items = std::vector<Value>(), next = int64_t{-1}, count = int64_t{0}, offset = size_t{0},
                        &budget](Value* out) mutable {
    if (next < 0) {
      items = Collect(value, budget);
      Apply(Arithmetic::kFloorDiv, Value::Integer(0), slices, budget);  // not a number, zero
      count = IntegerArgument(slices);
      next = 0;
    }
    if (next >= count) return false;
    budget.Charge(1);
    const size_t each = items.size() / static_cast<size_t>(count);
    const size_t extra = items.size() % static_cast<size_t>(count);
    const size_t size = each + (static_cast<size_t>(next) < extra ? 1 : 0);
    const auto begin = items.begin() + static_cast<std::ptrdiff_t>(offset);
    std::vector<Value> column(begin, begin + static_cast<std::ptrdiff_t>(size));
    if (!fill.IsNone() && static_cast<size_t>(next) >= extra) column.push_back(fill);
    offset += size;
    ++next;
    *out = Value::List(std::move(column));
    return true;
  });
}

Value FilterAttr(Interpreter&, const Value& value, const CallArgs& args) {
  const Value name = Bind("attr", args, {"name"}, 1)[0];
  const std::string& text = TextArgument("attr", name);
  if (FindAttribute(value, text).IsMissing() && !text.starts_with("__")) return MakeUndefinedAttribute(value, name);
  return GetAttribute(value, text);
}

}  // namespace

const FilterTable& SequenceFilters() {
  static const FilterTable kTable = {
      {"default", FilterDefault}, {"d", FilterDefault}, {"length", FilterLength}, {"count", FilterLength}, {"list", FilterList},
      {"first", FilterFirst}, {"last", FilterLast}, {"reverse", FilterReverse}, {"join", FilterJoin}, {"items", FilterItems},
      {"dictsort", FilterDictSort}, {"batch", FilterBatch}, {"slice", FilterSlice}, {"attr", FilterAttr}};
  return kTable;
}

}  // namespace fathom::jinja
