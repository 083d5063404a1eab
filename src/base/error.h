// Errors. A mistake of the user is a UserError (exit code 2, HTTP 4xx): its message is one line that names the
// thing, the rule and the values seen. A failure of the machine (full disk, no memory) is a MachineError (exit
// code 1). A broken invariant of the program is a FATHOM_CHECK with file and line (exit code 1).
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace fathom {

class UserError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class MachineError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class InvariantError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

template <typename... Args>
[[noreturn]] void ThrowUserError(fmt::format_string<Args...> format, Args&&... args) {
  throw UserError(fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
[[noreturn]] void ThrowMachineError(fmt::format_string<Args...> format, Args&&... args) {
  throw MachineError(fmt::format(format, std::forward<Args>(args)...));
}

[[noreturn]] void FailCheck(const char* file, int line, const char* condition, const std::string& message);

}  // namespace fathom

// Throws UserError with the formatted message unless `condition` holds.
#define FATHOM_USER_CHECK(condition, ...)                        \
  do {                                                           \
    if (!(condition)) ::fathom::ThrowUserError(__VA_ARGS__);     \
  } while (false)

// Throws InvariantError with file, line and the formatted message unless `condition` holds.
#define FATHOM_CHECK(condition, ...)                                                            \
  do {                                                                                          \
    if (!(condition)) ::fathom::FailCheck(__FILE__, __LINE__, #condition, fmt::format(__VA_ARGS__)); \
  } while (false)
