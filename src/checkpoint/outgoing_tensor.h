// A tensor on its way into a file: its values are made when they are written, a few rows at a time.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "checkpoint/output_folder.h"

namespace fathom {

struct OutgoingTensor {
  std::string name;
  std::vector<int64_t> shape;
  at::ScalarType dtype = at::kBFloat16;  // in the file: f32, bf16 or f16
  // Writes rows [row0, row1) of the tensor viewed as [rows, last dimension]; safe to call from many threads.
  std::function<void(int64_t row0, int64_t row1, void* out, at::ScalarType dtype)> read;
  std::function<void(int64_t row0, int64_t row1)> release;  // called behind written rows; may be empty

  int64_t num_rows() const;
  int64_t num_cols() const;
  int64_t num_bytes() const;
};

// Appends the tensor's values to the file. Holds about 32 MB at a time (one row at least a thread).
void WriteValues(const OutgoingTensor& tensor, OutputFile& file);

}  // namespace fathom
