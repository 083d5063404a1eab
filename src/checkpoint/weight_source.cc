#include "checkpoint/weight_source.h"

#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "checkpoint/dtype_names.h"
#include "checkpoint/source_finder.h"

namespace fathom {
namespace {

bool IsFloating(const TensorEntry& entry) { return entry.is_ggml_block || c10::isFloatingType(entry.dtype); }

// What files hold besides weights: tables that are computed anew, and MTP layers that the configuration does not use.
bool IsKnownExtra(const std::string& name, const Checkpoint& checkpoint) {
  const ModelConfig& config = checkpoint.config;
  if (checkpoint.is_gguf) return name == "rope_freqs.weight" || name.starts_with(fmt::format("blk.{}.", config.num_hidden_layers));
  if (name.ends_with(".rotary_emb.inv_freq")) return true;
  if (config.architecture != Architecture::kDeepseekV3 && config.architecture != Architecture::kDeepseekV32) return false;
  const std::string mtp = fmt::format("model.layers.{}.", config.num_hidden_layers + config.num_nextn_predict_layers);
  return name.starts_with(mtp) && checkpoint.files->Find(mtp + "eh_proj.weight") != nullptr;
}

void CheckNothingIsLeft(const NamedEntries& entries, const Checkpoint& checkpoint) {
  const TensorEntry* first = nullptr;
  int64_t num_left = 0;
  for (const TensorEntry& entry : entries.files().entries()) {
    if (entries.IsTaken(entry) || IsKnownExtra(entry.name, checkpoint)) continue;
    if (first == nullptr) first = &entry;
    ++num_left;
  }
  if (first == nullptr) return;
  ThrowUserError("{}: tensor {} of shape [{}] belongs to no weight of this configuration{}", entries.files().path(*first).string(), first->name,
                 fmt::join(first->shape, ", "), num_left == 1 ? "" : fmt::format(" (nor do {} others)", num_left - 1));
}

}  // namespace

int64_t WeightSource::num_cols() const { return spec.shape.empty() ? 1 : spec.shape.back(); }

int64_t WeightSource::num_rows() const {
  int64_t rows = 1;
  for (size_t i = 0; i + 1 < spec.shape.size(); ++i) rows *= spec.shape[i];
  return rows;
}

void CheckWeight(const TensorEntry& entry, const std::vector<int64_t>& shape, const TensorFiles& files) {
  FATHOM_USER_CHECK(entry.shape == shape, "{}: tensor {}: shape must be [{}] for this configuration, got [{}]", files.path(entry).string(), entry.name,
                    fmt::join(shape, ", "), fmt::join(entry.shape, ", "));
  FATHOM_USER_CHECK(IsFloating(entry), "{}: tensor {}: a weight must be in floating point, got {}", files.path(entry).string(), entry.name, entry.dtype_name());
}

void ReadEntry(const TensorEntry& entry, WeightSource& source) {
  source.dtype_name = entry.dtype_name();
  source.num_bytes = static_cast<int64_t>(entry.bytes.size());
  source.read = [&entry](int64_t row0, int64_t row1, void* out, at::ScalarType dtype) { DecodeRows(entry, row0, row1, out, dtype); };
  source.release = [&entry](int64_t row0, int64_t row1) { ReleaseRows(entry, row0, row1); };
  if (!entry.is_ggml_block || entry.shape.size() != 2) return;
  source.block_type = entry.ggml;
  source.read_blocks = [&entry](int64_t row0, int64_t row1, std::byte* out) {
    const size_t row_bytes = entry.bytes.size() / static_cast<size_t>(entry.num_rows());
    std::memcpy(out, entry.bytes.data() + static_cast<size_t>(row0) * row_bytes, static_cast<size_t>(row1 - row0) * row_bytes);
  };
}

void FailMissing(const WeightSpec& spec, const std::string& name, const Checkpoint& checkpoint) {
  ThrowUserError("{}: tensor {} of shape [{}] is missing", checkpoint.path.string(), name, fmt::join(spec.shape, ", "));
}

std::vector<WeightSource> FindSources(const Checkpoint& checkpoint) {
  FATHOM_USER_CHECK(checkpoint.files != nullptr,
                    "{} has no weights: model.safetensors, model.safetensors.index.json, pytorch_model.bin or pytorch_model.bin.index.json is needed",
                    checkpoint.path.string());
  NamedEntries entries(*checkpoint.files);
  std::vector<WeightSource> sources;
  for (WeightSpec& spec : ListWeights(checkpoint.config)) {
    if (!spec.tied_to.empty()) {  // a file may repeat it: its shape must fit, its values are those of the other
      const TensorEntry* entry = checkpoint.is_gguf ? nullptr : entries.Take(spec.name);
      if (entry != nullptr) CheckWeight(*entry, spec.shape, entries.files());
      continue;
    }
    WeightSource& source = sources.emplace_back();
    source.spec = std::move(spec);
    if (checkpoint.is_gguf) FindGgufSource(checkpoint, entries, source);
    else FindHubSource(checkpoint, entries, source);
  }
  CheckNothingIsLeft(entries, checkpoint);
  return sources;
}

}  // namespace fathom
