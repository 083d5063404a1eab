#include "cli/version.h"

namespace fathom {

const char* Version() { return FATHOM_VERSION; }

}  // namespace fathom
