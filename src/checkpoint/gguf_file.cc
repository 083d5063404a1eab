#include "checkpoint/gguf_file.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/dtype_names.h"

namespace fathom {
namespace {

TensorEntry MakeEntry(const GgufTensorInfo& info, std::span<const std::byte> data, const std::string& what) {
  const GgmlTraits* traits = FindGgmlTraits(info.type);
  FATHOM_USER_CHECK(traits != nullptr,
                    "{}: tensor {}: ggml type {} is not read (F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K to Q6_K, IQ4_NL and IQ4_XS are)",
                    what, info.name, info.type);
  TensorEntry entry;
  entry.name = info.name;
  entry.shape = info.shape;
  entry.is_ggml_block = true;
  entry.ggml = traits->type;
  if (traits->block_numel == 1) {
    entry.is_ggml_block = false;
    entry.dtype = traits->type == GgmlType::kF32 ? at::kFloat : traits->type == GgmlType::kF16 ? at::kHalf : at::kBFloat16;
  }
  const int64_t cols = entry.num_cols();
  FATHOM_USER_CHECK(cols % traits->block_numel == 0, "{}: tensor {}: a row of {} values is no whole number of {} blocks of {}", what, info.name, cols,
                    traits->name, traits->block_numel);
  int64_t num_bytes = 0;
  const bool overflows = __builtin_mul_overflow(entry.numel() / traits->block_numel, traits->block_bytes, &num_bytes);
  FATHOM_USER_CHECK(!overflows && info.offset <= data.size() && static_cast<uint64_t>(num_bytes) <= data.size() - info.offset,
                    "{}: tensor {}: shape [{}] of {} at offset {} reaches beyond the {} bytes of data in the file (is it cut short?)", what, info.name,
                    fmt::join(info.shape, ", "), traits->name, info.offset, data.size());
  entry.bytes = data.subspan(info.offset, static_cast<size_t>(num_bytes));
  return entry;
}

// -00001-of-00003 in NAME-00001-of-00003.gguf.
std::string PartSuffix(int64_t part, int64_t count) { return fmt::format("-{:05}-of-{:05}.gguf", part + 1, count); }

std::vector<std::filesystem::path> PartPaths(const GgufHeader& header, const std::filesystem::path& first) {
  if (header.Find("split.count") == nullptr) return {first};
  const int64_t count = header.GetInt("split.count");
  if (count <= 1) return {first};
  FATHOM_USER_CHECK(count <= 99999, "{}: split.count is {}, at most 99999 parts are read", first.string(), count);
  const int64_t number = header.GetInt("split.no");
  FATHOM_USER_CHECK(number == 0, "{}: this is part {} of {}; give the first part, whose name ends in {}", first.string(), number + 1, count,
                    PartSuffix(0, count));
  const std::string name = first.string(), suffix = PartSuffix(0, count);
  FATHOM_USER_CHECK(name.ends_with(suffix), "{}: the first of {} parts, but its name does not end in {}", name, count, suffix);
  std::vector<std::filesystem::path> paths;
  for (int64_t part = 0; part < count; ++part) paths.emplace_back(name.substr(0, name.size() - suffix.size()) + PartSuffix(part, count));
  return paths;
}

}  // namespace

std::vector<TensorEntry> GgufEntries(const GgufHeader& header, std::span<const std::byte> file, const std::string& what) {
  const std::span<const std::byte> data = header.data_offset <= file.size() ? file.subspan(header.data_offset) : std::span<const std::byte>{};
  std::vector<TensorEntry> entries;
  entries.reserve(header.tensors.size());
  for (const GgufTensorInfo& info : header.tensors) entries.push_back(MakeEntry(info, data, what));
  std::vector<const TensorEntry*> placed;
  for (const TensorEntry& entry : entries)
    if (!entry.bytes.empty()) placed.push_back(&entry);
  std::sort(placed.begin(), placed.end(), [](const TensorEntry* a, const TensorEntry* b) { return a->bytes.data() < b->bytes.data(); });
  for (size_t i = 1; i < placed.size(); ++i) {
    const auto end = placed[i - 1]->bytes.data() + placed[i - 1]->bytes.size();
    FATHOM_USER_CHECK(end <= placed[i]->bytes.data(), "{}: tensor {} at offset {} overlaps {}, which ends at {}", what, placed[i]->name,
                      placed[i]->bytes.data() - data.data(), placed[i - 1]->name, end - data.data());
  }
  return entries;
}

OpenedGguf OpenGgufParts(const std::filesystem::path& first_part) {
  OpenedGguf opened;
  std::vector<MappedFile> files;
  std::vector<TensorEntry> entries;
  files.emplace_back(first_part);
  opened.header = ParseGgufHeader(files.front().bytes(), first_part.string());
  const auto paths = PartPaths(opened.header, first_part);
  for (size_t part = 0; part < paths.size(); ++part) {
    const std::string what = paths[part].string();
    GgufHeader header;
    if (part > 0) {
      files.emplace_back(paths[part]);
      header = ParseGgufHeader(files.back().bytes(), what);
      FATHOM_USER_CHECK(header.GetInt("split.no") == static_cast<int64_t>(part) && header.GetInt("split.count") == std::ssize(paths),
                        "{}: says that it is part {} of {}, by its name it is part {} of {}", what, header.GetInt("split.no") + 1,
                        header.GetInt("split.count"), part + 1, paths.size());
    }
    for (TensorEntry& entry : GgufEntries(part == 0 ? opened.header : header, files[part].bytes(), what)) {
      entry.file_idx = part;
      entries.push_back(std::move(entry));
    }
  }
  if (opened.header.Find("split.tensors.count") != nullptr) {
    const int64_t expected = opened.header.GetInt("split.tensors.count");
    FATHOM_USER_CHECK(expected == std::ssize(entries), "{}: split.tensors.count is {}, its {} parts hold {} tensors", first_part.string(), expected, paths.size(),
                      entries.size());
  }
  opened.files = std::make_unique<TensorFiles>(std::move(files), std::move(entries));
  return opened;
}

std::unique_ptr<TensorFiles> OpenGguf(const std::filesystem::path& first_part) { return OpenGgufParts(first_part).files; }

}  // namespace fathom
