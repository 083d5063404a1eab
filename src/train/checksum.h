// Checksums of files: what tells a damaged snapshot from a whole one.
#pragma once

#include <filesystem>
#include <string>

namespace fathom {

// XXH3's 128 bits of the file's bytes, in hexadecimal. Throws UserError where it cannot be read.
std::string ChecksumOfFile(const std::filesystem::path& path);

}  // namespace fathom
