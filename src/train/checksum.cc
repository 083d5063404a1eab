#include "train/checksum.h"

#include <fmt/format.h>
#include <xxhash.h>

#include "base/file.h"

namespace fathom {

std::string ChecksumOfFile(const std::filesystem::path& path) {
  const MappedFile file(path);
  const XXH128_hash_t hash = XXH3_128bits(file.bytes().data(), file.bytes().size());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace fathom
