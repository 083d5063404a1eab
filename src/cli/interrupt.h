// Ctrl-C. While a guard lives the first SIGINT or SIGTERM only sets a flag, which the work looks at; a second one ends the program at
// once with exit code 130. Without a guard a signal ends the program at once.
#pragma once

namespace fathom {

class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  // Whether a signal came since the guard was made or Clear was called.
  static bool Interrupted();
  static void Clear();
};

}  // namespace fathom
