// Logging to stderr: `LogInfo("loaded {} tensors", n)`. The default level is warn, so that a run that goes well says
// nothing but its result; `--log-level` changes it (trace, debug, info, warn, error, off).
#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>

namespace fathom {

enum class LogLevel { kTrace, kDebug, kInfo, kWarn, kError, kOff };

// Throws UserError for a level that does not exist.
void SetLogLevel(const std::string& level);
bool LogEnabled(LogLevel level);
void Log(LogLevel level, const std::string& message);

template <typename... Args>
void LogDebug(fmt::format_string<Args...> format, Args&&... args) {
  if (LogEnabled(LogLevel::kDebug)) Log(LogLevel::kDebug, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void LogInfo(fmt::format_string<Args...> format, Args&&... args) {
  if (LogEnabled(LogLevel::kInfo)) Log(LogLevel::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void LogWarn(fmt::format_string<Args...> format, Args&&... args) {
  if (LogEnabled(LogLevel::kWarn)) Log(LogLevel::kWarn, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace fathom
