#include "train/event_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cstring>

#include "base/clock.h"
#include "base/error.h"

namespace fathom {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are written as they are");

constexpr std::array<uint32_t, 256> MakeTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0u);
    table[byte] = crc;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kTable = MakeTable();

template <typename T>
std::string Raw(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

// Protocol buffers: a field is its key (number * 8 + wire type) and its value.
void AddVarint(std::string& out, uint64_t value) {
  for (; value >= 128; value >>= 7) out += static_cast<char>(value % 128 + 128);
  out += static_cast<char>(value);
}
void AddInteger(std::string& out, int field, uint64_t value) {
  AddVarint(out, static_cast<uint64_t>(field) * 8);
  AddVarint(out, value);
}
void AddBytes(std::string& out, int field, std::string_view bytes) {
  AddVarint(out, static_cast<uint64_t>(field) * 8 + 2);
  AddVarint(out, bytes.size());
  out += bytes;
}
void AddDouble(std::string& out, int field, double value) {
  AddVarint(out, static_cast<uint64_t>(field) * 8 + 1);
  out += Raw(value);
}
void AddFloat(std::string& out, int field, float value) {
  AddVarint(out, static_cast<uint64_t>(field) * 8 + 5);
  out += Raw(value);
}

// Event: wall_time 1, step 2, file_version 3, summary 5, session_log 7.
std::string EventAt(int64_t step) {
  std::string event;
  AddDouble(event, 1, UnixSeconds());
  AddInteger(event, 2, static_cast<uint64_t>(step));
  return event;
}

}  // namespace

uint32_t MaskedCrc32c(std::string_view bytes) {
  uint32_t crc = 0xffffffffu;
  for (const char byte : bytes) crc = (crc >> 8) ^ kTable[(crc ^ static_cast<uint8_t>(byte)) & 0xff];
  crc = ~crc;
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

EventFile::EventFile(const std::filesystem::path& dir, int64_t first_step)
    : path_(dir / fmt::format("events.out.tfevents.{:010}.fathom.{}", static_cast<int64_t>(UnixSeconds()), ::getpid())), file_(path_, std::ios::binary | std::ios::app) {
  std::string version = EventAt(0);
  AddBytes(version, 3, "brain.Event:2");
  Append(version);
  std::string start = EventAt(first_step), session;
  AddInteger(session, 1, 1);  // SessionLog.status = START: readers drop what they had from this step on
  AddBytes(start, 7, session);
  Append(start);
}

void EventFile::Write(int64_t step, const std::vector<std::pair<std::string, double>>& scalars) {
  std::string event = EventAt(step), summary;
  for (const auto& [tag, value] : scalars) {
    std::string entry;  // Summary.Value: tag 1, simple_value 2
    AddBytes(entry, 1, tag);
    AddFloat(entry, 2, static_cast<float>(value));
    AddBytes(summary, 1, entry);
  }
  AddBytes(event, 5, summary);
  Append(event);
}

void EventFile::Append(const std::string& event) {
  const std::string length = Raw(static_cast<uint64_t>(event.size()));
  file_ << length << Raw(MaskedCrc32c(length)) << event << Raw(MaskedCrc32c(event)) << std::flush;
  if (!file_) ThrowMachineError("cannot write {}: is the disk full?", path_.string());
}

}  // namespace fathom
