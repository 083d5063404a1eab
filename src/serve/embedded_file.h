// Files that the build puts into the program (cmake/embed_files.cmake).
#pragma once

#include <string_view>
#include <vector>

namespace fathom {

struct EmbeddedFile {
  std::string_view name, bytes;
};

// What src/serve/page holds, and the API's description.
const std::vector<EmbeddedFile>& ServedFiles();

}  // namespace fathom
