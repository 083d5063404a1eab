// The special variable `loop`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "text/jinja/interpreter.h"
#include "text/jinja/value.h"

namespace fathom::jinja {

class LoopObject : public Object {
 public:
  // `recursive`: the statement to run for loop(children), in an environment below `closure`; nullptr for a plain loop.
  LoopObject(Value iterable, const Stmt* recursive, Ref<Environment> closure, int64_t depth0);

  bool Next(Value* item);
  std::string TypeName() const override { return "LoopContext"; }
  std::string Repr() override;
  Value GetAttribute(std::string_view name) override;
  bool IsCallable() const override { return true; }
  Value Call(Interpreter& interpreter, const CallArgs& args) override;
  Value Cycle(const CallArgs& args) const;
  Value Changed(const CallArgs& args);

 private:
  int64_t Length();
  bool Peek();  // false: there is no next item

  Value iterable_;
  Value iterator_;
  const Stmt* recursive_;
  Ref<Environment> closure_;
  int64_t depth0_;
  int64_t index0_ = -1;
  int64_t length_ = -1;
  Value before_, current_, after_;  // kMissing: none
  Value last_changed_;
};

}  // namespace fathom::jinja
