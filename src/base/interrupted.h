// Work that was asked to stop. Long work takes a `stop` function, asks it now and then, and ends with Interrupted when it says so: what is done is kept, and
// the program ends with exit code 130. No error: nobody but the program's outermost level catches it.
#pragma once

#include <functional>
#include <stdexcept>

namespace fathom {

using StopFunction = std::function<bool()>;

class Interrupted : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// `what` says what stopped, and how it goes on: "tokenising stopped; run it again and it goes on behind the last whole shard".
inline void ThrowIfStopped(const StopFunction& stop, const char* what) {
  if (stop && stop()) throw Interrupted(what);
}

}  // namespace fathom
