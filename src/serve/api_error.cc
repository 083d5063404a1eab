#include "serve/api_error.h"

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"

namespace fathom {
namespace {

const char* TypeOf(int status) {
  switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 429: return "rate_limit_error";
    default: return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

}  // namespace

std::string ErrorBody(const ApiError& error) {
  const auto or_null = [](const std::string& text) { return text.empty() ? OrderedJson() : OrderedJson(text); };
  const OrderedJson body = {{"error",
                             {{"message", error.what()}, {"type", TypeOf(error.status())}, {"param", or_null(error.param())}, {"code", or_null(error.code())}}}};
  return body.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

ApiError ToApiError(const std::exception& error) {
  if (const auto* api_error = dynamic_cast<const ApiError*>(&error)) return *api_error;
  if (dynamic_cast<const UserError*>(&error) != nullptr) return ApiError(400, error.what());
  LogWarn("a request failed: {}", error.what());
  return ApiError(500, dynamic_cast<const MachineError*>(&error) != nullptr ? error.what() : "the server failed in this request");
}

}  // namespace fathom
