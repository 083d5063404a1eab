// The program's version.
#pragma once

namespace fathom {

// As in CMakeLists.txt: "0.1.0".
const char* Version();

}  // namespace fathom
