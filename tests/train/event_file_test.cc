#include "train/event_file.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "base/file.h"
#include "temporary_folder.h"

namespace fathom {
namespace {

// A plain reader of TFRecord and of the few fields of an Event: what any other reader does.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  bool AtEnd() const { return at_ == bytes_.size(); }
  template <typename T>
  T Raw() {
    T value;
    std::memcpy(&value, Take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::string_view Take(size_t size) {
    EXPECT_LE(at_ + size, bytes_.size());
    const std::string_view part = bytes_.substr(at_, size);
    at_ += size;
    return part;
  }
  uint64_t Varint() {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = Raw<uint8_t>();
      value |= static_cast<uint64_t>(byte & 127) << shift;
      if (byte < 128) return value;
    }
  }
  // Each field: number to its bytes (of integers and floats: their eight or four).
  std::multimap<int, std::string> Fields() {
    std::multimap<int, std::string> fields;
    while (!AtEnd()) {
      const uint64_t key = Varint();
      const int number = static_cast<int>(key / 8), wire = static_cast<int>(key % 8);
      if (wire == 0) {
        const uint64_t value = Varint();
        fields.emplace(number, std::string(reinterpret_cast<const char*>(&value), sizeof value));
      } else {
        fields.emplace(number, std::string(Take(wire == 1 ? 8 : wire == 5 ? 4 : Varint())));
      }
    }
    return fields;
  }

 private:
  std::string_view bytes_;
  size_t at_ = 0;
};

template <typename T>
T As(const std::string& bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  return value;
}

std::vector<std::multimap<int, std::string>> ReadEvents(const std::filesystem::path& dir) {
  std::vector<std::multimap<int, std::string>> events;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    EXPECT_NE(entry.path().filename().string().find("tfevents"), std::string::npos);
    const std::string bytes = ReadFile(entry.path());
    Reader records(bytes);
    while (!records.AtEnd()) {
      const std::string_view length = records.Take(8);
      EXPECT_EQ(records.Raw<uint32_t>(), MaskedCrc32c(length));
      const std::string_view event = records.Take(As<uint64_t>(std::string(length)));
      EXPECT_EQ(records.Raw<uint32_t>(), MaskedCrc32c(event));
      events.push_back(Reader(event).Fields());
    }
  }
  return events;
}

TEST(EventFile, TheChecksumIsCastagnolisMasked) {
  const uint32_t crc = 0xe3069283;  // of "123456789": RFC 3720, B.4's check value
  EXPECT_EQ(MaskedCrc32c("123456789"), ((crc >> 15) | (crc << 17)) + 0xa282ead8u);
}

TEST(EventFile, ScalarsReadBackWithTheirStepsAndTags) {
  TemporaryFolder folder;
  {
    EventFile file(folder.path(), 41);
    file.Write(41, {{"train/loss", 2.5}, {"train/lr", 1e-3}});
    file.Write(300, {{"train/loss", -7}});
  }
  const auto events = ReadEvents(folder.path());
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[0].find(3)->second, "brain.Event:2");
  EXPECT_EQ(As<uint64_t>(events[1].find(2)->second), 41u);
  EXPECT_TRUE(events[1].contains(7)) << "the start of a session: readers drop older steps from here on";
  EXPECT_EQ(As<uint64_t>(events[2].find(2)->second), 41u);
  EXPECT_GT(As<double>(events[2].find(1)->second), 1.5e9);
  const auto values = Reader(events[2].find(5)->second).Fields();
  ASSERT_EQ(values.size(), 2u);
  const auto first = Reader(values.begin()->second).Fields(), second = Reader(std::next(values.begin())->second).Fields();
  EXPECT_EQ(first.find(1)->second, "train/loss");
  EXPECT_EQ(As<float>(first.find(2)->second), 2.5f);
  EXPECT_EQ(second.find(1)->second, "train/lr");
  EXPECT_EQ(As<float>(second.find(2)->second), 1e-3f);
  EXPECT_EQ(As<uint64_t>(events[3].find(2)->second), 300u);
}

}  // namespace
}  // namespace fathom
