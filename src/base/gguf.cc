#include "base/gguf.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <set>
#include <type_traits>
#include <utility>

#include "base/error.h"

namespace fathom {
namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr uint32_t kMaxDims = 4;
constexpr uint64_t kMaxKeyBytes = 65535;  // the format's own limit

enum ValueType : uint32_t {
  kUint8, kInt8, kUint16, kInt16, kUint32, kInt32, kFloat32, kBool, kString, kArray, kUint64, kInt64, kFloat64,
};

// Bytes of one element; 0 for what has no fixed size or does not exist. A string takes its length's 8 at least.
uint64_t MinBytes(uint32_t type) {
  switch (type) {
    case kUint8: case kInt8: case kBool: return 1;
    case kUint16: case kInt16: return 2;
    case kUint32: case kInt32: case kFloat32: return 4;
    case kUint64: case kInt64: case kFloat64: case kString: return 8;
    default: return 0;
  }
}

class Reader {
 public:
  Reader(std::span<const std::byte> bytes, const std::string& what) : bytes_(bytes), what_(what) {}

  uint64_t offset() const { return offset_; }
  uint64_t left() const { return bytes_.size() - offset_; }
  // The key, tensor or field that errors speak of.
  void SetItem(std::string item) { item_ = std::move(item); }

  template <typename T>
  T Read() {
    Need(sizeof(T));
    T value;
    std::memcpy(&value, bytes_.data() + offset_, sizeof(T));
    offset_ += sizeof(T);
    return value;
  }

  std::string ReadString(uint64_t max_bytes = std::numeric_limits<uint64_t>::max()) {
    const auto size = Read<uint64_t>();
    if (size > max_bytes) Fail(fmt::format("a string of {} bytes, at most {} are allowed", size, max_bytes));
    Need(size);
    std::string text(reinterpret_cast<const char*>(bytes_.data() + offset_), size);
    offset_ += size;
    return text;
  }

  bool ReadBool() {
    const auto value = Read<uint8_t>();
    if (value > 1) Fail(fmt::format("a bool must be 0 or 1, got {}", value));
    return value == 1;
  }

  // Checks that `count` items of at least `min_bytes` can follow.
  void NeedItems(uint64_t count, uint64_t min_bytes) const {
    if (count > left() / min_bytes)
      Fail(fmt::format("{} items of at least {} bytes do not fit into the {} bytes left", count, min_bytes, left()));
  }

  [[noreturn]] void Fail(const std::string& cause) const { ThrowUserError("{}: {}: {}", what_, item_, cause); }

 private:
  void Need(uint64_t size) const {
    if (size > left())
      Fail(fmt::format("the file ends early: {} bytes wanted at offset {}, {} left", size, offset_, left()));
  }

  std::span<const std::byte> bytes_;
  const std::string& what_;
  std::string item_ = "header";
  uint64_t offset_ = 0;
};

template <typename T>
std::vector<int64_t> ReadInts(Reader& in, uint64_t count) {
  std::vector<int64_t> values(count);
  for (auto& value : values) {
    const T read = in.Read<T>();
    if constexpr (std::is_same_v<T, uint64_t>)
      if (read > uint64_t{std::numeric_limits<int64_t>::max()}) in.Fail(fmt::format("{} does not fit into int64", read));
    value = static_cast<int64_t>(read);
  }
  return values;
}

template <typename T>
std::vector<double> ReadFloats(Reader& in, uint64_t count) {
  std::vector<double> values(count);
  for (auto& value : values) value = in.Read<T>();
  return values;
}

GgufValue ReadArray(Reader& in) {
  const auto type = in.Read<uint32_t>();
  const auto count = in.Read<uint64_t>();
  if (type == kArray) in.Fail("an array of arrays is not supported");
  const uint64_t min_bytes = MinBytes(type);
  if (min_bytes == 0) in.Fail(fmt::format("array of unknown value type {}", type));
  in.NeedItems(count, min_bytes);
  switch (type) {
    case kUint8: return ReadInts<uint8_t>(in, count);
    case kInt8: return ReadInts<int8_t>(in, count);
    case kUint16: return ReadInts<uint16_t>(in, count);
    case kInt16: return ReadInts<int16_t>(in, count);
    case kUint32: return ReadInts<uint32_t>(in, count);
    case kInt32: return ReadInts<int32_t>(in, count);
    case kUint64: return ReadInts<uint64_t>(in, count);
    case kInt64: return ReadInts<int64_t>(in, count);
    case kFloat32: return ReadFloats<float>(in, count);
    case kFloat64: return ReadFloats<double>(in, count);
    case kBool: {
      std::vector<bool> values(count);
      for (uint64_t i = 0; i < count; ++i) values[i] = in.ReadBool();
      return values;
    }
    default: {
      std::vector<std::string> values;
      values.reserve(count);
      for (uint64_t i = 0; i < count; ++i) values.push_back(in.ReadString());
      return values;
    }
  }
}

GgufValue ReadValue(Reader& in) {
  const auto type = in.Read<uint32_t>();
  switch (type) {
    case kUint8: return uint64_t{in.Read<uint8_t>()};
    case kInt8: return int64_t{in.Read<int8_t>()};
    case kUint16: return uint64_t{in.Read<uint16_t>()};
    case kInt16: return int64_t{in.Read<int16_t>()};
    case kUint32: return uint64_t{in.Read<uint32_t>()};
    case kInt32: return int64_t{in.Read<int32_t>()};
    case kUint64: return in.Read<uint64_t>();
    case kInt64: return in.Read<int64_t>();
    case kFloat32: return double{in.Read<float>()};
    case kFloat64: return in.Read<double>();
    case kBool: return in.ReadBool();
    case kString: return in.ReadString();
    case kArray: return ReadArray(in);
    default: in.Fail(fmt::format("unknown value type {}", type));
  }
}

GgufTensorInfo ReadTensorInfo(Reader& in, uint64_t tensor_idx, uint64_t alignment) {
  in.SetItem(fmt::format("tensor {}", tensor_idx));
  GgufTensorInfo tensor;
  tensor.name = in.ReadString(kMaxKeyBytes);
  in.SetItem(fmt::format("tensor '{}'", tensor.name));
  const auto num_dims = in.Read<uint32_t>();
  if (num_dims > kMaxDims) in.Fail(fmt::format("{} dimensions, at most {} are allowed", num_dims, kMaxDims));
  int64_t num_values = 1;
  for (uint32_t dim = 0; dim < num_dims; ++dim) {
    const auto size = in.Read<uint64_t>();
    if (size > uint64_t{std::numeric_limits<int64_t>::max()} ||
        __builtin_mul_overflow(num_values, static_cast<int64_t>(size), &num_values))
      in.Fail(fmt::format("its number of values overflows (dimension {} is {})", dim, size));
    tensor.shape.push_back(static_cast<int64_t>(size));
  }
  std::reverse(tensor.shape.begin(), tensor.shape.end());
  tensor.type = in.Read<uint32_t>();
  tensor.offset = in.Read<uint64_t>();
  if (tensor.offset % alignment != 0)
    in.Fail(fmt::format("its offset {} is no multiple of the alignment {}", tensor.offset, alignment));
  return tensor;
}

uint64_t Alignment(const GgufHeader& header, const Reader& in) {
  if (header.Find("general.alignment") == nullptr) return 32;
  const int64_t alignment = header.GetInt("general.alignment");
  if (alignment <= 0 || alignment > (1 << 30) || (alignment & (alignment - 1)) != 0)
    in.Fail(fmt::format("general.alignment must be a power of two up to 2^30, got {}", alignment));
  return static_cast<uint64_t>(alignment);
}

template <typename T>
const T& Get(const GgufHeader& header, std::string_view key, const char* kind) {
  const GgufValue* value = header.Find(key);
  FATHOM_USER_CHECK(value != nullptr, "GGUF metadata has no key '{}'", key);
  const T* typed = std::get_if<T>(value);
  FATHOM_USER_CHECK(typed != nullptr, "GGUF key '{}' must be {}", key, kind);
  return *typed;
}

}  // namespace

const GgufValue* GgufHeader::Find(std::string_view key) const {
  const auto it = metadata.find(key);
  return it == metadata.end() ? nullptr : &it->second;
}

int64_t GgufHeader::GetInt(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value != nullptr)
    if (const auto* number = std::get_if<uint64_t>(value)) {
      FATHOM_USER_CHECK(*number <= uint64_t{std::numeric_limits<int64_t>::max()},
                        "GGUF key '{}' does not fit into int64: {}", key, *number);
      return static_cast<int64_t>(*number);
    }
  return Get<int64_t>(*this, key, "an integer");
}

double GgufHeader::GetFloat(std::string_view key) const { return Get<double>(*this, key, "a float"); }

const std::string& GgufHeader::GetString(std::string_view key) const { return Get<std::string>(*this, key, "a string"); }

const std::vector<std::string>& GgufHeader::GetStrings(std::string_view key) const {
  return Get<std::vector<std::string>>(*this, key, "an array of strings");
}

const std::vector<int64_t>& GgufHeader::GetInts(std::string_view key) const {
  return Get<std::vector<int64_t>>(*this, key, "an array of integers");
}

bool IsGguf(std::span<const std::byte> bytes) {
  return bytes.size() >= kMagic.size() && std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) == 0;
}

GgufHeader ParseGgufHeader(std::span<const std::byte> bytes, const std::string& what) {
  FATHOM_USER_CHECK(IsGguf(bytes), "{}: not a GGUF file (its first bytes are not '{}')", what, kMagic);
  Reader in(bytes, what);
  in.Read<uint32_t>();
  GgufHeader header;
  header.version = in.Read<uint32_t>();
  if (header.version == 0x02000000 || header.version == 0x03000000) in.Fail("a big-endian GGUF file is not supported");
  if (header.version != 2 && header.version != 3)
    in.Fail(fmt::format("version must be 2 or 3, got {}", header.version));
  const auto num_tensors = in.Read<uint64_t>();
  const auto num_keys = in.Read<uint64_t>();
  in.NeedItems(num_keys, 8 + 4 + 1);

  for (uint64_t key_idx = 0; key_idx < num_keys; ++key_idx) {
    in.SetItem(fmt::format("key {}", key_idx));
    std::string key = in.ReadString(kMaxKeyBytes);
    in.SetItem(fmt::format("key '{}'", key));
    GgufValue value = ReadValue(in);
    if (!header.metadata.emplace(std::move(key), std::move(value)).second) in.Fail("the key appears twice");
  }

  in.SetItem("tensor directory");
  const uint64_t alignment = Alignment(header, in);
  in.NeedItems(num_tensors, 8 + 4 + 4 + 8);
  header.tensors.reserve(num_tensors);
  for (uint64_t tensor_idx = 0; tensor_idx < num_tensors; ++tensor_idx)
    header.tensors.push_back(ReadTensorInfo(in, tensor_idx, alignment));
  std::set<std::string_view> names;
  for (const auto& tensor : header.tensors)
    FATHOM_USER_CHECK(names.insert(tensor.name).second, "{}: tensor '{}' appears twice", what, tensor.name);
  header.data_offset = (in.offset() + alignment - 1) / alignment * alignment;
  return header;
}

}  // namespace fathom
