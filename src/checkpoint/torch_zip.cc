#include "checkpoint/torch_zip.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace fathom {
namespace {

constexpr uint32_t kEndSignature = 0x06054b50, kEnd64Signature = 0x06064b50, kLocator64Signature = 0x07064b50;
constexpr uint32_t kCentralSignature = 0x02014b50, kLocalSignature = 0x04034b50;
constexpr uint64_t kEndSize = 22, kEnd64Size = 56, kLocator64Size = 20, kCentralSize = 46, kLocalSize = 30;

// Little-endian reads that are checked against the file's size.
class ZipBytes {
 public:
  ZipBytes(std::span<const std::byte> bytes, const std::string& what) : bytes_(bytes), what_(what) {}
  uint64_t size() const { return bytes_.size(); }

  std::span<const std::byte> Slice(uint64_t offset, uint64_t length, const char* part) const {
    FATHOM_USER_CHECK(offset <= bytes_.size() && length <= bytes_.size() - offset,
                      "{}: {} at byte {} of length {} reaches beyond the file of {} bytes (is it cut short?)", what_, part, offset, length, bytes_.size());
    return bytes_.subspan(offset, length);
  }
  template <typename T>
  T Get(uint64_t offset, const char* part) const {
    T value;
    std::memcpy(&value, Slice(offset, sizeof(T), part).data(), sizeof(T));
    return value;
  }
  const std::string& what() const { return what_; }

 private:
  std::span<const std::byte> bytes_;
  const std::string& what_;
};

struct Directory {
  uint64_t offset = 0, size = 0, num_members = 0;
};

// The end record is the last thing in the file but for a comment of at most 65535 bytes.
Directory FindDirectory(const ZipBytes& zip) {
  FATHOM_USER_CHECK(zip.size() >= kEndSize, "{}: not a zip file: {} bytes", zip.what(), zip.size());
  const uint64_t lowest = zip.size() - std::min<uint64_t>(zip.size(), kEndSize + 65535);
  for (uint64_t at = zip.size() - kEndSize + 1; at-- > lowest;) {
    if (zip.Get<uint32_t>(at, "end record") != kEndSignature) continue;
    if (at + kEndSize + zip.Get<uint16_t>(at + 20, "end record") != zip.size()) continue;
    Directory directory{zip.Get<uint32_t>(at + 16, "end record"), zip.Get<uint32_t>(at + 12, "end record"), zip.Get<uint16_t>(at + 10, "end record")};
    if (at >= kLocator64Size && zip.Get<uint32_t>(at - kLocator64Size, "locator") == kLocator64Signature) {
      const auto end64 = zip.Get<uint64_t>(at - kLocator64Size + 8, "locator");
      zip.Slice(end64, kEnd64Size, "zip64 end record");
      FATHOM_USER_CHECK(zip.Get<uint32_t>(end64, "zip64 end record") == kEnd64Signature, "{}: no zip64 end record at byte {}", zip.what(), end64);
      directory = {zip.Get<uint64_t>(end64 + 48, "zip64 end record"), zip.Get<uint64_t>(end64 + 40, "zip64 end record"),
                   zip.Get<uint64_t>(end64 + 32, "zip64 end record")};
    }
    return directory;
  }
  ThrowUserError("{}: not a zip file, or cut short: it has no end record", zip.what());
}

struct Member {
  std::string name;
  uint64_t size = 0, local_offset = 0;
};

// One record of the central directory at `at`; moves `at` behind it.
Member ParseMember(const ZipBytes& zip, uint64_t& at) {
  constexpr const char* kPart = "central directory";
  zip.Slice(at, kCentralSize, kPart);
  FATHOM_USER_CHECK(zip.Get<uint32_t>(at, kPart) == kCentralSignature, "{}: no central directory record at byte {}", zip.what(), at);
  const uint16_t flags = zip.Get<uint16_t>(at + 8, kPart), method = zip.Get<uint16_t>(at + 10, kPart);
  uint64_t packed_size = zip.Get<uint32_t>(at + 20, kPart);
  Member member;
  member.size = zip.Get<uint32_t>(at + 24, kPart);
  const uint16_t name_size = zip.Get<uint16_t>(at + 28, kPart), extra_size = zip.Get<uint16_t>(at + 30, kPart),
                 comment_size = zip.Get<uint16_t>(at + 32, kPart);
  member.local_offset = zip.Get<uint32_t>(at + 42, kPart);
  const auto name = zip.Slice(at + kCentralSize, name_size, kPart);
  member.name.assign(reinterpret_cast<const char*>(name.data()), name.size());
  FATHOM_USER_CHECK((flags & 1) == 0, "{}: member {} is encrypted", zip.what(), member.name);
  FATHOM_USER_CHECK(method == 0, "{}: member {} is compressed (method {}); torch.save stores members uncompressed", zip.what(), member.name, method);

  const uint64_t extra_begin = at + kCentralSize + name_size;
  zip.Slice(extra_begin, extra_size, kPart);
  for (uint64_t field = extra_begin; field + 4 <= extra_begin + extra_size;) {
    const uint16_t id = zip.Get<uint16_t>(field, kPart), size = zip.Get<uint16_t>(field + 2, kPart);
    const uint64_t end = field + 4 + size;
    FATHOM_USER_CHECK(end <= extra_begin + extra_size, "{}: member {}: an extra field is longer than its record", zip.what(), member.name);
    if (id == 1) {  // zip64: the values that did not fit 32 bits, in this order
      uint64_t place = field + 4;
      for (uint64_t* value : {&member.size, &packed_size, &member.local_offset}) {
        if (*value != 0xFFFFFFFFu) continue;
        FATHOM_USER_CHECK(place + 8 <= end, "{}: member {}: its zip64 field is too short", zip.what(), member.name);
        *value = zip.Get<uint64_t>(place, kPart);
        place += 8;
      }
    }
    field = end;
  }
  FATHOM_USER_CHECK(packed_size == member.size, "{}: member {} is stored, but its sizes differ: {} and {}", zip.what(), member.name, packed_size, member.size);
  at = extra_begin + extra_size + comment_size;
  return member;
}

}  // namespace

std::map<std::string, std::span<const std::byte>> ParseStoredZip(std::span<const std::byte> file, const std::string& what) {
  const ZipBytes zip(file, what);
  const Directory directory = FindDirectory(zip);
  zip.Slice(directory.offset, directory.size, "central directory");
  FATHOM_USER_CHECK(directory.num_members <= directory.size / kCentralSize, "{}: {} members do not fit a central directory of {} bytes", what,
                    directory.num_members, directory.size);
  std::map<std::string, std::span<const std::byte>> members;
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  uint64_t at = directory.offset;
  for (uint64_t i = 0; i < directory.num_members; ++i) {
    const Member member = ParseMember(zip, at);
    FATHOM_USER_CHECK(at <= directory.offset + directory.size, "{}: member {}: its record reaches beyond the central directory", what, member.name);
    const char* part = "local header";
    zip.Slice(member.local_offset, kLocalSize, part);
    FATHOM_USER_CHECK(zip.Get<uint32_t>(member.local_offset, part) == kLocalSignature, "{}: member {}: no local header at byte {}", what, member.name,
                      member.local_offset);
    const uint64_t data = member.local_offset + kLocalSize + zip.Get<uint16_t>(member.local_offset + 26, part) + zip.Get<uint16_t>(member.local_offset + 28, part);
    const auto bytes = zip.Slice(data, member.size, "member");
    FATHOM_USER_CHECK(data + member.size <= directory.offset, "{}: member {} reaches into the central directory", what, member.name);
    FATHOM_USER_CHECK(members.emplace(member.name, bytes).second, "{}: member {} stands twice", what, member.name);
    ranges.emplace_back(member.local_offset, data + member.size);
  }
  std::sort(ranges.begin(), ranges.end());
  for (size_t i = 1; i < ranges.size(); ++i)
    FATHOM_USER_CHECK(ranges[i].first >= ranges[i - 1].second, "{}: members overlap at byte {}", what, ranges[i].first);
  return members;
}

}  // namespace fathom
