// Where this tree and its programs lie, for tests that read files beside the sources or run the program: as they were built, or where
// FATHOM_SOURCE_DIR and FATHOM_BINARY_DIR say (programs that were carried to another machine).
#pragma once
#include <filesystem>

namespace fathom {

std::filesystem::path SourceFolder();  // the root of the repository
std::filesystem::path BinaryFolder();  // where `fathom` and its plug-ins were built

}  // namespace fathom
