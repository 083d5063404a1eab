#include "places.h"

#include <cstdlib>

namespace fathom {
namespace {
std::filesystem::path Given(const char* variable, const char* built) {
  const char* given = std::getenv(variable);
  return given != nullptr ? given : built;
}
}  // namespace

std::filesystem::path SourceFolder() { return Given("FATHOM_SOURCE_DIR", FATHOM_SOURCE_DIR); }
std::filesystem::path BinaryFolder() { return Given("FATHOM_BINARY_DIR", FATHOM_BINARY_DIR); }

}  // namespace fathom
