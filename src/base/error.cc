#include "base/error.h"

namespace fathom {

void FailCheck(const char* file, int line, const char* condition, const std::string& message) {
  throw InvariantError(fmt::format("internal error at {}:{}: {} ({})", file, line, message, condition));
}

}  // namespace fathom
