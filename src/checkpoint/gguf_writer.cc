#include "checkpoint/gguf_writer.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "base/error.h"

namespace fathom {
namespace {

constexpr uint64_t kAlignment = 32;
enum ValueType : uint32_t { kUint32 = 4, kInt32 = 5, kFloat32 = 6, kBool = 7, kString = 8, kArray = 9 };

template <typename T>
void Put(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}
void PutString(std::string& bytes, std::string_view text) {
  Put<uint64_t>(bytes, text.size());
  bytes += text;
}

uint32_t GgmlTypeOf(at::ScalarType dtype) {
  return static_cast<uint32_t>(dtype == at::kFloat ? GgmlType::kF32 : dtype == at::kHalf ? GgmlType::kF16 : GgmlType::kBF16);
}

uint64_t PadTo(uint64_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; }

std::string Directory(const GgufExport& gguf_export) {
  std::string bytes = "GGUF";
  Put<uint32_t>(bytes, 3);
  Put<uint64_t>(bytes, gguf_export.tensors.size());
  Put<uint64_t>(bytes, gguf_export.metadata.num_keys());
  bytes += gguf_export.metadata.bytes();
  uint64_t offset = 0;
  for (const OutgoingTensor& tensor : gguf_export.tensors) {
    PutString(bytes, tensor.name);
    Put<uint32_t>(bytes, static_cast<uint32_t>(tensor.shape.size()));
    for (size_t d = tensor.shape.size(); d-- > 0;) Put<uint64_t>(bytes, static_cast<uint64_t>(tensor.shape[d]));
    Put<uint32_t>(bytes, GgmlTypeOf(tensor.dtype));
    Put<uint64_t>(bytes, offset);
    offset += PadTo(static_cast<uint64_t>(tensor.num_bytes()));
  }
  bytes.resize(PadTo(bytes.size()), '\0');
  return bytes;
}

void WriteFile(const GgufExport& gguf_export, const std::filesystem::path& path) {
  OutputFile file(path);
  file.Write(Directory(gguf_export));
  const std::string zeros(kAlignment, '\0');
  for (const OutgoingTensor& tensor : gguf_export.tensors) {
    WriteValues(tensor, file);
    file.Write(zeros.data(), PadTo(file.num_written()) - file.num_written());
  }
  file.Close();
}

}  // namespace

void GgufMetadata::AddKey(std::string_view key, uint32_t type) {
  PutString(bytes_, key);
  Put(bytes_, type);
  ++num_keys_;
}
void GgufMetadata::AddUnsigned(std::string_view key, uint32_t value) {
  AddKey(key, kUint32);
  Put(bytes_, value);
}
void GgufMetadata::AddFloat(std::string_view key, float value) {
  AddKey(key, kFloat32);
  Put(bytes_, value);
}
void GgufMetadata::AddBool(std::string_view key, bool value) {
  AddKey(key, kBool);
  Put<uint8_t>(bytes_, value ? 1 : 0);
}
void GgufMetadata::AddString(std::string_view key, std::string_view value) {
  AddKey(key, kString);
  PutString(bytes_, value);
}
void GgufMetadata::AddStrings(std::string_view key, const std::vector<std::string>& values) {
  AddKey(key, kArray);
  Put<uint32_t>(bytes_, kString);
  Put<uint64_t>(bytes_, values.size());
  for (const std::string& value : values) PutString(bytes_, value);
}
void GgufMetadata::AddInts(std::string_view key, const std::vector<int32_t>& values) {
  AddKey(key, kArray);
  Put<uint32_t>(bytes_, kInt32);
  Put<uint64_t>(bytes_, values.size());
  for (const int32_t value : values) Put(bytes_, value);
}

void WriteGguf(const GgufExport& gguf_export, const std::filesystem::path& path) {
  FATHOM_USER_CHECK(!std::filesystem::exists(std::filesystem::symlink_status(path)), "{} exists already; an output must be a new file", path.string());
  const std::filesystem::path folder = std::filesystem::absolute(path).parent_path();
  FATHOM_USER_CHECK(std::filesystem::is_directory(folder), "{}: {} is no folder", path.string(), folder.string());
  const std::filesystem::path temporary = fmt::format("{}.tmp-{}", path.string(), ::getpid());
  std::error_code ignored;
  std::filesystem::remove(temporary, ignored);  // of a process of this number that crashed
  try {
    WriteFile(gguf_export, temporary);
    if (::rename(temporary.c_str(), path.c_str()) != 0) ThrowMachineError("cannot rename {} to {}: {}", temporary.string(), path.string(), std::strerror(errno));
  } catch (...) {
    std::filesystem::remove(temporary, ignored);
    throw;
  }
}

}  // namespace fathom
