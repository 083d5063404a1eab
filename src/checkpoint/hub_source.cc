// Weights of Hugging Face's files: a name each, and DeepSeek-V3's FP8 blocks with their scales.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "base/error.h"
#include "checkpoint/narrow.h"
#include "checkpoint/source_finder.h"

namespace fathom {
namespace {

// W[n, k] = values[n, k] * scale_inv[n / block_rows, k / block_cols]; a ragged last block is a block.
// Source: DeepSeek-V3's weight file description (README_WEIGHTS.md), block-wise quantisation.
struct Fp8Blocks {
  const TensorEntry* values;
  const TensorEntry* scale_entry;
  std::vector<float> scales;
  int64_t block_rows, block_cols, scale_cols;

  void Read(int64_t row0, int64_t row1, void* out, at::ScalarType dtype) const {
    const int64_t cols = values->num_cols();
    std::vector<float> row(static_cast<size_t>(cols));
    auto* out_bytes = static_cast<std::byte*>(out);
    const int64_t out_row_bytes = cols * static_cast<int64_t>(c10::elementSize(dtype));
    for (int64_t n = row0; n < row1; ++n) {
      DecodeRows(*values, n, n + 1, row.data(), at::kFloat);
      const float* scale_row = scales.data() + n / block_rows * scale_cols;
      for (int64_t begin = 0, block = 0; begin < cols; begin += block_cols, ++block) {
        const int64_t end = std::min(cols, begin + block_cols);
        for (int64_t k = begin; k < end; ++k) row[static_cast<size_t>(k)] *= scale_row[block];
      }
      NarrowFloats(row.data(), cols, out_bytes + (n - row0) * out_row_bytes, dtype);
    }
  }
};

void ReadFp8(const Checkpoint& checkpoint, const TensorEntry& values, const TensorEntry& scales, WeightSource& source) {
  const QuantizationConfig quantization = checkpoint.config.quantization.value_or(QuantizationConfig{});
  const int64_t N = values.shape[0], K = values.shape[1];
  const std::vector<int64_t> expected = {(N + quantization.block_rows - 1) / quantization.block_rows,
                                         (K + quantization.block_cols - 1) / quantization.block_cols};
  CheckWeight(scales, expected, *checkpoint.files);
  auto blocks = std::make_shared<Fp8Blocks>();
  blocks->values = &values;
  blocks->scale_entry = &scales;
  blocks->block_rows = quantization.block_rows;
  blocks->block_cols = quantization.block_cols;
  blocks->scale_cols = expected[1];
  blocks->scales.resize(static_cast<size_t>(expected[0] * expected[1]));
  DecodeRows(scales, 0, expected[0], blocks->scales.data(), at::kFloat);
  source.num_bytes += static_cast<int64_t>(scales.bytes.size());
  source.read = [blocks](int64_t row0, int64_t row1, void* out, at::ScalarType dtype) { blocks->Read(row0, row1, out, dtype); };
  source.fp8_values = &values;
  source.fp8_scales = &scales;
}

}  // namespace

void FindHubSource(const Checkpoint& checkpoint, NamedEntries& entries, WeightSource& source) {
  const WeightSpec& spec = source.spec;
  const TensorEntry* entry = entries.Take(spec.name);
  if (entry == nullptr) {
    if (spec.optional) return;
    FailMissing(spec, spec.name, checkpoint);
  }
  CheckWeight(*entry, spec.shape, entries.files());
  ReadEntry(*entry, source);
  if (entry->dtype != at::kFloat8_e4m3fn || spec.shape.size() != 2) return;
  if (const TensorEntry* scales = entries.Take(spec.name + "_scale_inv")) ReadFp8(checkpoint, *entry, *scales, source);
}

}  // namespace fathom
