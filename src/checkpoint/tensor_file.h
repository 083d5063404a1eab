// One reader interface over every file format: names, shapes, encodings and mapped bytes; nothing is copied until a tensor is read.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file.h"

namespace fathom {

// ggml block formats that are read (numbers are ggml_type's).
enum class GgmlType : uint32_t {
  kF32 = 0, kF16 = 1, kQ4_0 = 2, kQ4_1 = 3, kQ5_0 = 6, kQ5_1 = 7, kQ8_0 = 8, kQ2_K = 10, kQ3_K = 11, kQ4_K = 12, kQ5_K = 13, kQ6_K = 14,
  kIQ4_NL = 20, kIQ4_XS = 23, kBF16 = 30,
};

struct TensorEntry {
  std::string name;
  std::vector<int64_t> shape;
  bool is_ggml_block = false;               // then `ggml` tells the format, else `dtype`
  at::ScalarType dtype = at::kFloat;
  GgmlType ggml = GgmlType::kF32;
  std::span<const std::byte> bytes;         // mapped; of a strided view: from its first element to its last
  // pytorch_model.bin tensors may be strided views of a storage; others are contiguous.
  std::vector<int64_t> strides;             // in elements, empty = contiguous
  size_t file_idx = 0;                      // into TensorFiles::files()
  std::string dtype_name() const;           // "BF16", "F8_E4M3", "Q4_K", ... as inspect prints it
  int64_t numel() const;
  int64_t num_cols() const;                 // the last dimension (1 of a scalar)
  int64_t num_rows() const;                 // numel / num_cols
};

// Files of one checkpoint: entries of all shards, names unique.
class TensorFiles {
 public:
  // Takes the mapped files and the entries whose bytes lie in them. Throws UserError for a name that comes twice.
  TensorFiles(std::vector<MappedFile> files, std::vector<TensorEntry> entries);
  virtual ~TensorFiles() = default;
  TensorFiles(const TensorFiles&) = delete;
  TensorFiles& operator=(const TensorFiles&) = delete;
  const std::vector<TensorEntry>& entries() const { return entries_; }
  const TensorEntry* Find(std::string_view name) const;  // nullptr when absent
  const std::filesystem::path& path(const TensorEntry& entry) const { return files_[entry.file_idx].path(); }
  const std::vector<MappedFile>& files() const { return files_; }

 protected:
  std::vector<MappedFile> files_;
  std::vector<TensorEntry> entries_;
  std::unordered_map<std::string_view, size_t> index_;  // name -> entry
};

// Each opens and checks every header completely (offsets inside the file, sizes = shape * dtype, no overlap, no duplicate names).
// Throw UserError naming the file, the tensor, the rule and the values.
std::unique_ptr<TensorFiles> OpenSafetensors(const std::vector<std::filesystem::path>& shards);
std::unique_ptr<TensorFiles> OpenTorchBin(const std::vector<std::filesystem::path>& shards);
std::unique_ptr<TensorFiles> OpenGguf(const std::filesystem::path& first_part);

// Decodes rows [row0, row1) of the entry viewed as [rows, last dim] into `out` (contiguous, out.dtype f32, bf16 or f16, numel = rows * last dim).
void DecodeRows(const TensorEntry& entry, int64_t row0, int64_t row1, at::Tensor& out);
// The same into memory of (row1 - row0) * num_cols() elements of `dtype`; safe to call from many threads.
void DecodeRows(const TensorEntry& entry, int64_t row0, int64_t row1, void* out, at::ScalarType dtype);
// The whole tensor in `dtype` (or in its own, at::ScalarType::Undefined; block formats then give f32). One copy.
at::Tensor ReadTensor(const TensorEntry& entry, at::ScalarType dtype);
// Drops the mapped pages that lie wholly inside rows [row0, row1): they are read again from the file when touched.
void ReleaseRows(const TensorEntry& entry, int64_t row0, int64_t row1);

}  // namespace fathom
