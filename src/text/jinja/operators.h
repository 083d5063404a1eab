// Python's operators and protocols on values: truth, equality, order, arithmetic, membership, iteration, subscripts.
// All throw RenderError with Python's class and message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace fathom::jinja {

// What a render may spend. A step is about one operation, or 64 bytes or 8 items made or read.
class Budget {
 public:
  static constexpr int64_t kMaxSteps = 10'000'000;
  static constexpr size_t kMaxBytes = size_t{64} << 20;  // of one string, and of the output
  explicit Budget(int64_t max_steps) : max_steps_(max_steps) {}
  void Charge(int64_t steps);
  void ChargeBytes(size_t bytes) { Charge(static_cast<int64_t>(bytes >> 6)); }
  void ChargeItems(size_t items) { Charge(static_cast<int64_t>(items >> 3)); }
  void ChargeValue(const Value& value);   // an operation that may read all of it
  void CheckBytes(size_t bytes);          // a string of this length is about to be made

 private:
  int64_t steps_ = 0, max_steps_;
};

bool Truth(const Value& value);
bool Equal(const Value& a, const Value& b);
bool Same(const Value& a, const Value& b);  // Python's `is`
size_t Hash(const Value& value);
size_t HashText(std::string_view text);

enum class Order { kLess, kLessEqual, kGreater, kGreaterEqual };
bool Compare(Order order, const Value& a, const Value& b);

enum class Arithmetic { kAdd, kSub, kMul, kDiv, kFloorDiv, kMod, kPow };
Value Apply(Arithmetic op, const Value& a, const Value& b, Budget& budget);
Value Negate(const Value& value);
Value Plus(const Value& value);

bool Contains(const Value& container, const Value& item);
// len(). Throws TypeError where Python does.
int64_t Length(const Value& value);
bool HasLength(const Value& value);
// iter(): a Kind::kIterator.
Value Iterate(const Value& value);
bool IsIterable(const Value& value);
// list(value), charging each item.
std::vector<Value> Collect(const Value& value, Budget& budget);

// value[start:stop:step]; kNone or kMissing bounds are open.
Value Slice(const Value& value, const Value& start, const Value& stop, const Value& step);
// value[index] as Python: throws TypeError, or LookupError.
Value Subscript(const Value& value, const Value& index);

[[noreturn]] void FailUndefined(const Value& undefined);

}  // namespace fathom::jinja
