// From the weight table to the files: where each weight of a model comes from, whatever the format.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "model/weight_table.h"

namespace fathom {

struct WeightSource {
  WeightSpec spec;
  std::string dtype_name;  // in the file: "BF16", "F8_E4M3", "Q4_K"
  int64_t num_bytes = 0;   // in the file, scales included
  // Writes rows [row0, row1) of the weight viewed as [rows, last dimension] to `out`, in f32, bf16 or f16. Safe to call from many threads.
  // Empty for an optional weight that the files do not hold.
  std::function<void(int64_t row0, int64_t row1, void* out, at::ScalarType dtype)> read;
  // Lets go of the pages that these rows were read from.
  std::function<void(int64_t row0, int64_t row1)> release;
  // FP8 blocks as stored; null otherwise.
  const TensorEntry* fp8_values = nullptr;
  const TensorEntry* fp8_scales = nullptr;

  // Copies rows [row0, row1) as stored, where a file keeps them in blocks of this ggml type whose rows are rows of the weight; else empty.
  std::function<void(int64_t row0, int64_t row1, std::byte* out)> read_blocks;
  GgmlType block_type = GgmlType::kF32;

  int64_t num_rows() const;
  int64_t num_cols() const;
};

// The source of every weight that the model stores (ties are left out), in the order of ListWeights. Throws UserError when a weight is missing, has another
// shape than the configuration gives it or a type that is no weight's, and when a tensor of the files belongs to no weight.
std::vector<WeightSource> FindSources(const Checkpoint& checkpoint);

}  // namespace fathom
