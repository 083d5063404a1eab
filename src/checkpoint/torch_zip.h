// The ZIP container as torch.save writes it: stored (uncompressed) members, ZIP64 where sizes need it.
// Source: PKWARE's APPNOTE, sections 4.3 to 4.5.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>

namespace fathom {

// Member name -> its bytes, views of `file`. Throws UserError for anything but stored members that lie inside the file without overlap.
std::map<std::string, std::span<const std::byte>> ParseStoredZip(std::span<const std::byte> file, const std::string& what);

}  // namespace fathom
