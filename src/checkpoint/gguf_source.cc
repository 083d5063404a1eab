// Weights of GGUF files: other names, stacked experts, rows of q and k in another order, and kv_b_proj in two halves.
#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "base/error.h"
#include "checkpoint/gguf_names.h"
#include "checkpoint/narrow.h"
#include "checkpoint/source_finder.h"

namespace fathom {
namespace {

// Llama files pair the rotated values (2j, 2j + 1), Hugging Face's (j, j + D/2): the file's row of a head of D rows that is row `row` here.
int64_t PairedRow(int64_t row, int64_t head_dim) {
  const int64_t head = row / head_dim, i = row % head_dim, half = head_dim / 2;
  return head * head_dim + 2 * (i % half) + i / half;
}

void ReadPaired(const TensorEntry& entry, int64_t head_dim, WeightSource& source) {
  const bool is_bias = entry.shape.size() == 1;
  const int64_t cols = entry.num_cols();
  source.read = [&entry, head_dim, cols, is_bias](int64_t row0, int64_t row1, void* out, at::ScalarType dtype) {
    const size_t size = c10::elementSize(dtype);
    auto* bytes = static_cast<std::byte*>(out);
    if (!is_bias) {
      for (int64_t row = row0; row < row1; ++row) {
        const int64_t from = PairedRow(row, head_dim);
        DecodeRows(entry, from, from + 1, bytes + static_cast<size_t>((row - row0) * cols) * size, dtype);
      }
      return;
    }
    if (row0 == row1) return;
    std::vector<std::byte> paired(static_cast<size_t>(cols) * size);
    DecodeRows(entry, 0, 1, paired.data(), dtype);
    for (int64_t i = 0; i < cols; ++i)
      std::memcpy(bytes + static_cast<size_t>(i) * size, paired.data() + static_cast<size_t>(PairedRow(i, head_dim)) * size, size);
  };
  if (!is_bias) {
    source.read_blocks = [whole = source.read_blocks, head_dim, row_bytes = entry.bytes.size() / static_cast<size_t>(entry.num_rows())](
                             int64_t row0, int64_t row1, std::byte* out) {
      for (int64_t row = row0; row < row1; ++row, out += row_bytes) {
        const int64_t from = PairedRow(row, head_dim);
        whole(from, from + 1, out);
      }
    };
    // A head's rows stay within the head, so whole heads can be let go.
    source.release = [&entry, head_dim](int64_t row0, int64_t row1) {
      ReleaseRows(entry, (row0 + head_dim - 1) / head_dim * head_dim, std::max(row1 / head_dim, (row0 + head_dim - 1) / head_dim) * head_dim);
    };
  }
}

// One expert of a tensor [E, N, K].
void ReadExpert(const TensorEntry& stacked, int64_t expert_idx, WeightSource& source) {
  auto slice = std::make_shared<TensorEntry>(stacked);
  const size_t expert_bytes = stacked.bytes.size() / static_cast<size_t>(stacked.shape[0]);
  slice->shape.erase(slice->shape.begin());
  slice->bytes = stacked.bytes.subspan(static_cast<size_t>(expert_idx) * expert_bytes, expert_bytes);
  source.dtype_name = slice->dtype_name();
  source.num_bytes = static_cast<int64_t>(expert_bytes);
  source.read = [slice](int64_t row0, int64_t row1, void* out, at::ScalarType dtype) { DecodeRows(*slice, row0, row1, out, dtype); };
  source.release = [slice](int64_t row0, int64_t row1) { ReleaseRows(*slice, row0, row1); };
}

// kv_b_proj [H * (nope + v), R] from k_b [H, R, nope] (transposed) and v_b [H, v, R].
void ReadSplitKvB(const TensorEntry& k_b, const TensorEntry& v_b, const ModelConfig& config, WeightSource& source) {
  const int64_t nope = config.qk_nope_head_dim, v = config.v_head_dim, R = config.kv_lora_rank, head_rows = nope + v;
  source.dtype_name = k_b.dtype_name();
  source.num_bytes = static_cast<int64_t>(k_b.bytes.size() + v_b.bytes.size());
  source.read = [&k_b, &v_b, nope, v, R, head_rows](int64_t row0, int64_t row1, void* out, at::ScalarType dtype) {
    const int64_t row_bytes = R * static_cast<int64_t>(c10::elementSize(dtype));
    auto* bytes = static_cast<std::byte*>(out);
    std::vector<float> transposed(static_cast<size_t>(R * nope)), row(static_cast<size_t>(R));
    for (int64_t head = row0 / head_rows; head * head_rows < row1; ++head) {
      const int64_t begin = std::max(row0 - head * head_rows, int64_t{0}), end = std::min(row1 - head * head_rows, head_rows);
      const auto place = [&](int64_t i) { return bytes + (head * head_rows + i - row0) * row_bytes; };
      if (begin < nope) DecodeRows(k_b, head * R, (head + 1) * R, transposed.data(), at::kFloat);
      for (int64_t i = begin; i < std::min(end, nope); ++i) {
        for (int64_t r = 0; r < R; ++r) row[static_cast<size_t>(r)] = transposed[static_cast<size_t>(r * nope + i)];
        NarrowFloats(row.data(), R, place(i), dtype);
      }
      const int64_t v_begin = std::max(begin, nope);
      if (v_begin < end) DecodeRows(v_b, head * v + v_begin - nope, head * v + end - nope, place(v_begin), dtype);
    }
  };
  source.release = [](int64_t, int64_t) {};
}

std::vector<int64_t> SplitShape(const TensorEntry& entry, std::vector<int64_t> stacked) {
  // Older files write [H, a, b] as [H * a, b].
  if (entry.shape.size() == 2) return {stacked[0] * stacked[1], stacked[2]};
  return stacked;
}

void FindKvB(const Checkpoint& checkpoint, NamedEntries& entries, WeightSource& source, const std::string& name) {
  const ModelConfig& config = checkpoint.config;
  const std::string layer = fmt::format("blk.{}.", source.spec.layer_idx);
  const TensorEntry* whole = entries.Take(name);
  const TensorEntry* k_b = entries.Take(layer + "attn_k_b.weight");
  const TensorEntry* v_b = entries.Take(layer + "attn_v_b.weight");
  if (whole != nullptr) {
    CheckWeight(*whole, source.spec.shape, entries.files());
    return ReadEntry(*whole, source);
  }
  if (k_b == nullptr || v_b == nullptr) FailMissing(source.spec, name + " (or attn_k_b and attn_v_b)", checkpoint);
  const int64_t H = config.num_attention_heads, R = config.kv_lora_rank;
  CheckWeight(*k_b, SplitShape(*k_b, {H, R, config.qk_nope_head_dim}), entries.files());
  CheckWeight(*v_b, SplitShape(*v_b, {H, config.v_head_dim, R}), entries.files());
  ReadSplitKvB(*k_b, *v_b, config, source);
}

}  // namespace

void FindGgufSource(const Checkpoint& checkpoint, NamedEntries& entries, WeightSource& source) {
  const ModelConfig& config = checkpoint.config;
  const WeightSpec& spec = source.spec;
  const std::string name = GgufName(spec);
  if (spec.role == WeightRole::kKvB) return FindKvB(checkpoint, entries, source, name);
  const TensorEntry* entry = entries.Take(name);
  if (entry == nullptr && spec.is_routed_expert) {  // files made before experts were stacked: ffn_up.7.weight
    std::string single = name;
    single.replace(single.find("_exps"), 5, fmt::format(".{}", spec.expert_idx));
    if (const TensorEntry* expert = entries.Take(single)) {
      CheckWeight(*expert, spec.shape, entries.files());
      return ReadEntry(*expert, source);
    }
  }
  if (entry == nullptr) {
    if (spec.optional) return;
    FailMissing(spec, name, checkpoint);
  }
  if (spec.is_routed_expert) {
    CheckWeight(*entry, {config.n_routed_experts, spec.shape[0], spec.shape[1]}, entries.files());
    return ReadExpert(*entry, spec.expert_idx, source);
  }
  CheckWeight(*entry, spec.shape, entries.files());
  ReadEntry(*entry, source);
  const bool is_rotated = spec.role == WeightRole::kQ || spec.role == WeightRole::kK;
  if (is_rotated && config.architecture == Architecture::kLlama) ReadPaired(*entry, config.head_dim, source);
}

}  // namespace fathom
