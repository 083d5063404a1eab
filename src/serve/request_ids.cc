#include "serve/request_ids.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <random>

namespace fathom {
namespace {

uint64_t Random64() {
  thread_local std::mt19937_64 engine{[] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }()};
  return engine();
}

bool IsLowerHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace

std::string NewRequestId() { return fmt::format("{:016x}{:016x}", Random64(), Random64()); }

bool IsRequestId(std::string_view id) {
  return !id.empty() && id.size() <= 128 && std::all_of(id.begin(), id.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '.' || c == '_' || c == ':' || c == '-';
  });
}

std::string ParseTraceParent(std::string_view header) {
  if (header.size() != 55 || header.substr(0, 3) != "00-" || header[35] != '-' || header[52] != '-') return "";
  const std::string_view trace_id = header.substr(3, 32);
  const bool is_valid = IsLowerHex(trace_id) && IsLowerHex(header.substr(36, 16)) && trace_id.find_first_not_of('0') != std::string_view::npos;
  return is_valid ? std::string(trace_id) : "";
}

std::string TraceParent(std::string_view trace_id) { return fmt::format("00-{}-{:016x}-01", trace_id, Random64() | 1); }

}  // namespace fathom
