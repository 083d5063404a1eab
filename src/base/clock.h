// Time that only grows, for measuring, and the time of day, for what is kept.
#pragma once

#include <chrono>

namespace fathom {

// Seconds since some moment in the past.
inline double MonotonicSeconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Seconds since 1970; may jump when the clock is set.
inline double UnixSeconds() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

}  // namespace fathom
