// Scopes of C++ for the interpreter's state: they hold when an error passes through.
#pragma once

#include <exception>
#include <utility>

#include "text/jinja/errors.h"

namespace fathom::jinja {

// Counts nested evaluation and refuses what would overflow the stack.
class InterpreterDepth {
 public:
  InterpreterDepth(int* depth, int limit) : depth_(depth) {
    if (++*depth_ > limit) {
      --*depth_;
      Fail(ErrorClass::kLimit, "maximum recursion depth exceeded");
    }
  }
  ~InterpreterDepth() { --*depth_; }
  InterpreterDepth(const InterpreterDepth&) = delete;
  InterpreterDepth& operator=(const InterpreterDepth&) = delete;

 private:
  int* depth_;
};

// Puts a variable back when the scope ends well; an error leaves it, since `line` is then where it happened.
template <typename T>
class RestoreOnExit {
 public:
  explicit RestoreOnExit(T* variable) : variable_(variable), old_(*variable) {}
  RestoreOnExit(T* variable, T value) : variable_(variable), old_(std::exchange(*variable, value)) {}
  ~RestoreOnExit() {
    if (std::uncaught_exceptions() == uncaught_) *variable_ = old_;
  }
  RestoreOnExit(const RestoreOnExit&) = delete;
  RestoreOnExit& operator=(const RestoreOnExit&) = delete;

 private:
  T* variable_;
  T old_;
  int uncaught_ = std::uncaught_exceptions();
};

}  // namespace fathom::jinja
