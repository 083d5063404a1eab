#include "base/free_memory.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>

namespace fathom {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

std::string Slurp(const std::filesystem::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// The number in a file that holds one; kUnlimited for "max" and for a file that is not there.
int64_t ReadNumber(const std::filesystem::path& path) {
  const std::string text = Slurp(path);
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && value < uint64_t{1} << 62 ? static_cast<int64_t>(value) : kUnlimited;
}

int64_t LeftInGroup(const std::filesystem::path& group, const char* limit_file, const char* used_file, const char* reclaimable_key) {
  const int64_t limit = ReadNumber(group / limit_file), used = ReadNumber(group / used_file);
  if (limit == kUnlimited || used == kUnlimited) return kUnlimited;
  const int64_t reclaimable = std::max<int64_t>(0, ParseCounter(Slurp(group / "memory.stat"), reclaimable_key));
  return std::max<int64_t>(0, limit - std::max<int64_t>(0, used - reclaimable));
}

// Version 2 groups nest, and each of them limits; version 1 has one memory group.
int64_t LeftInGroups() {
  const std::filesystem::path root = "/sys/fs/cgroup";
  int64_t left = LeftInGroup(root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file");
  left = std::min(left, LeftInGroup(root, "memory.max", "memory.current", "inactive_file"));
  const std::string groups = Slurp("/proc/self/cgroup");
  const size_t begin = groups.find("0::/");
  if (begin == std::string::npos) return left;
  std::filesystem::path relative = groups.substr(begin + 4, groups.find('\n', begin) - begin - 4);
  for (; !relative.empty(); relative = relative.parent_path()) left = std::min(left, LeftInGroup(root / relative, "memory.max", "memory.current", "inactive_file"));
  return left;
}

int64_t LeftInAddressSpace() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kUnlimited;
  const int64_t pages = ReadNumber("/proc/self/statm");
  const int64_t used = pages == kUnlimited ? 0 : pages * ::sysconf(_SC_PAGESIZE);
  return std::max<int64_t>(0, static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, rlim_t{1} << 62)) - used);
}

}  // namespace

int64_t ParseCounter(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!line.starts_with(key)) continue;
    line.remove_prefix(key.size());
    if (line.empty() || (line.front() != ':' && line.front() != ' ')) continue;
    line.remove_prefix(std::min(line.find_first_not_of(": \t"), line.size()));
    int64_t value = 0;
    const auto [stop, error] = std::from_chars(line.data(), line.data() + line.size(), value);
    if (error == std::errc()) return value;
  }
  return -1;
}

int64_t FreeMemoryBytes() {
  const int64_t kilobytes = ParseCounter(Slurp("/proc/meminfo"), "MemAvailable");
  const int64_t machine = kilobytes < 0 ? kUnlimited : kilobytes * 1024;
  return std::min({machine, LeftInGroups(), LeftInAddressSpace()});
}

}  // namespace fathom
