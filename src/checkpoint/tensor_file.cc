#include "checkpoint/tensor_file.h"

#include <utility>

#include "base/error.h"
#include "checkpoint/dtype_names.h"

namespace fathom {

std::string TensorEntry::dtype_name() const { return is_ggml_block ? TraitsOf(ggml).name : SafetensorsName(dtype); }

int64_t TensorEntry::numel() const {
  int64_t numel = 1;
  for (const int64_t size : shape) numel *= size;
  return numel;
}

int64_t TensorEntry::num_cols() const { return shape.empty() ? 1 : shape.back(); }

int64_t TensorEntry::num_rows() const {
  int64_t rows = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  return rows;
}

TensorFiles::TensorFiles(std::vector<MappedFile> files, std::vector<TensorEntry> entries)
    : files_(std::move(files)), entries_(std::move(entries)) {
  index_.reserve(entries_.size());
  for (size_t i = 0; i < entries_.size(); ++i) {
    const auto [place, is_new] = index_.emplace(entries_[i].name, i);
    FATHOM_USER_CHECK(is_new, "tensor {} stands twice: in {} and in {}", entries_[i].name,
                      path(entries_[place->second]).string(), path(entries_[i]).string());
  }
}

const TensorEntry* TensorFiles::Find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &entries_[found->second];
}

}  // namespace fathom
