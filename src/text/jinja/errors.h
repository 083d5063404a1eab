// Errors while a template runs, by Python's class: some are caught on the way (`|int`, `is iterable`), all others reach
// Render, which turns them into a UserError with the template's name and line.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace fathom::jinja {

enum class ErrorClass { kTemplate, kUndefined, kType, kValue, kLookup, kArithmetic, kLimit };

class RenderError : public std::runtime_error {
 public:
  RenderError(ErrorClass error_class, const std::string& message) : std::runtime_error(message), error_class_(error_class) {}
  ErrorClass error_class() const { return error_class_; }

 private:
  ErrorClass error_class_;
};

template <typename... Args>
[[noreturn]] void Fail(ErrorClass error_class, fmt::format_string<Args...> format, Args&&... args) {
  throw RenderError(error_class, fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
[[noreturn]] void FailType(fmt::format_string<Args...> format, Args&&... args) {
  throw RenderError(ErrorClass::kType, fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
[[noreturn]] void FailValue(fmt::format_string<Args...> format, Args&&... args) {
  throw RenderError(ErrorClass::kValue, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace fathom::jinja
