#include "base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <map>
#include <memory>

#include "base/error.h"

namespace fathom {
namespace {

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kTrace: return spdlog::level::trace;
    case LogLevel::kDebug: return spdlog::level::debug;
    case LogLevel::kInfo: return spdlog::level::info;
    case LogLevel::kWarn: return spdlog::level::warn;
    case LogLevel::kError: return spdlog::level::err;
    case LogLevel::kOff: return spdlog::level::off;
  }
  return spdlog::level::off;
}

spdlog::logger& Logger() {
  static const std::shared_ptr<spdlog::logger> logger = [] {
    auto made = std::make_shared<spdlog::logger>("fathom", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    made->set_pattern("%^%l%$: %v");
    made->set_level(spdlog::level::warn);
    return made;
  }();
  return *logger;
}

}  // namespace

void SetLogLevel(const std::string& level) {
  static const std::map<std::string, LogLevel> kLevels = {{"trace", LogLevel::kTrace}, {"debug", LogLevel::kDebug},
                                                          {"info", LogLevel::kInfo},   {"warn", LogLevel::kWarn},
                                                          {"error", LogLevel::kError}, {"off", LogLevel::kOff}};
  const auto found = kLevels.find(level);
  FATHOM_USER_CHECK(found != kLevels.end(), "--log-level must be trace, debug, info, warn, error or off, got '{}'", level);
  Logger().set_level(ToSpdlog(found->second));
}

bool LogEnabled(LogLevel level) { return Logger().should_log(ToSpdlog(level)); }
void Log(LogLevel level, const std::string& message) { Logger().log(ToSpdlog(level), message); }

}  // namespace fathom
