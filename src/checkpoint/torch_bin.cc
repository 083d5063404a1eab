#include "checkpoint/torch_bin.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "checkpoint/torch_pickle.h"
#include "checkpoint/torch_zip.h"

namespace fathom {
namespace {

// Elements from the first to behind the last that a view touches; -1 when that overflows.
int64_t ViewExtent(const PickledTensor& tensor) {
  int64_t last = 0;
  for (size_t d = 0; d < tensor.shape.size(); ++d) {
    if (tensor.shape[d] == 0) return 0;
    int64_t reach = 0;
    if (__builtin_mul_overflow(tensor.shape[d] - 1, tensor.strides[d], &reach) || __builtin_add_overflow(last, reach, &last)) return -1;
  }
  return last == INT64_MAX ? -1 : last + 1;
}

bool IsContiguous(const PickledTensor& tensor) {
  int64_t expected = 1;
  for (size_t d = tensor.shape.size(); d-- > 0;) {
    if (tensor.shape[d] != 1 && tensor.strides[d] != expected) return false;
    expected *= tensor.shape[d];
  }
  return true;
}

// A view may repeat values (stride 0), so that its shape is not bounded by the storage: bound it by itself.
constexpr int64_t kMaxNumel = int64_t{1} << 48;

TensorEntry MakeEntry(const PickledTensor& tensor, std::span<const std::byte> storage, const std::string& what) {
  FATHOM_USER_CHECK(static_cast<uint64_t>(tensor.storage_bytes) == storage.size(), "{}: tensor {}: its storage {} should have {} bytes, the file has {}", what,
                    tensor.name, tensor.storage_key, tensor.storage_bytes, storage.size());
  TensorEntry entry;
  entry.name = tensor.name;
  entry.shape = tensor.shape;
  entry.dtype = tensor.dtype;
  int64_t numel = 1;
  for (const int64_t size : tensor.shape)
    FATHOM_USER_CHECK(!__builtin_mul_overflow(numel, std::max<int64_t>(size, 1), &numel) && numel <= kMaxNumel, "{}: tensor {}: its shape [{}] is too large", what,
                      tensor.name, fmt::join(tensor.shape, ", "));
  const int64_t extent = ViewExtent(tensor), size = static_cast<int64_t>(c10::elementSize(tensor.dtype));
  const int64_t held = tensor.storage_bytes / size;
  FATHOM_USER_CHECK(extent >= 0 && tensor.storage_offset <= held && extent <= held - tensor.storage_offset,
                    "{}: tensor {}: shape [{}] with strides [{}] at offset {} reaches beyond its storage of {} elements", what, tensor.name,
                    fmt::join(tensor.shape, ", "), fmt::join(tensor.strides, ", "), tensor.storage_offset, held);
  entry.bytes = storage.subspan(static_cast<size_t>(tensor.storage_offset * size), static_cast<size_t>(extent * size));
  if (extent > 0 && !IsContiguous(tensor)) entry.strides = tensor.strides;
  return entry;
}

}  // namespace

std::vector<TensorEntry> ParseTorchBin(std::span<const std::byte> file, const std::string& what) {
  constexpr unsigned char kLegacyMagic[] = {0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};
  FATHOM_USER_CHECK(file.size() < sizeof kLegacyMagic || std::memcmp(file.data(), kLegacyMagic, sizeof kLegacyMagic) != 0,
                    "{}: written by torch.save before PyTorch 1.6; load it there and save it again, or convert it to safetensors", what);
  const auto members = ParseStoredZip(file, what);
  const auto pickle = std::find_if(members.begin(), members.end(), [](const auto& member) { return member.first.ends_with("/data.pkl"); });
  FATHOM_USER_CHECK(pickle != members.end(), "{}: a zip file without data.pkl, torch.save writes one", what);
  const std::string root = pickle->first.substr(0, pickle->first.size() - std::string_view("data.pkl").size());
  if (const auto order = members.find(root + "byteorder"); order != members.end()) {
    const std::string_view text(reinterpret_cast<const char*>(order->second.data()), order->second.size());
    FATHOM_USER_CHECK(text == "little", "{}: byte order is {}, only little is read", what, text.substr(0, 20));
  }
  std::vector<TensorEntry> entries;
  for (const PickledTensor& tensor : ReadTensorPickle(pickle->second, what)) {
    const auto storage = members.find(root + "data/" + tensor.storage_key);
    FATHOM_USER_CHECK(storage != members.end(), "{}: tensor {}: its storage data/{} is not in the file", what, tensor.name, tensor.storage_key);
    entries.push_back(MakeEntry(tensor, storage->second, what));
  }
  return entries;
}

std::unique_ptr<TensorFiles> OpenTorchBin(const std::vector<std::filesystem::path>& shards) {
  std::vector<MappedFile> files;
  std::vector<TensorEntry> entries;
  for (const auto& path : shards) {
    files.emplace_back(path);
    for (TensorEntry& entry : ParseTorchBin(files.back().bytes(), path.string())) {
      entry.file_idx = files.size() - 1;
      entries.push_back(std::move(entry));
    }
  }
  return std::make_unique<TensorFiles>(std::move(files), std::move(entries));
}

}  // namespace fathom
