// Time that only grows, for measuring.
#pragma once

#include <chrono>

namespace fathom {

// Seconds since some moment in the past.
inline double MonotonicSeconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace fathom
