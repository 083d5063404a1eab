// Errors as OpenAI's API gives them.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace fathom {

// A request that is refused: HTTP status, and what stands in {"error": {"message", "type", "param", "code"}}. Empty param and code are null.
class ApiError : public std::runtime_error {
 public:
  ApiError(int status, const std::string& message, std::string param = "", std::string code = "")
      : std::runtime_error(message), status_(status), param_(std::move(param)), code_(std::move(code)) {}
  int status() const { return status_; }
  const std::string& param() const { return param_; }
  const std::string& code() const { return code_; }

 private:
  int status_;
  std::string param_, code_;
};

// A field that is not as it must be: 400 naming it.
template <typename... Args>
[[noreturn]] void ThrowBadField(const std::string& param, fmt::format_string<Args...> format, Args&&... args) {
  throw ApiError(400, fmt::format(format, std::forward<Args>(args)...), param);
}

// The body of the answer.
std::string ErrorBody(const ApiError& error);
// The error of any exception: UserError is a 400, MachineError and the rest a 500 that says nothing of the inside.
ApiError ToApiError(const std::exception& error);

}  // namespace fathom
