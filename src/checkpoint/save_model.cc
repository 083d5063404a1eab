#include <cstring>
#include <utility>
#include <vector>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/hub_export.h"

namespace fathom {
namespace {

// A model's weights as sources: rows are copied to the CPU in the type that is written.
std::vector<WeightSource> SourcesOf(Model& model) {
  std::vector<WeightSource> sources;
  model.ForEachWeight([&](const WeightSpec& spec, WeightSlot& slot) {
    FATHOM_USER_CHECK(slot.values.defined(), "weight {} is kept in {}; load the model expanded to save it", spec.name,
                      slot.blocks.defined() ? "ggml's blocks" : "FP8");
    WeightSource& source = sources.emplace_back();
    source.spec = spec;
    const int64_t rows = source.num_rows(), cols = source.num_cols();
    source.read = [values = slot.values.detach(), rows, cols](int64_t row0, int64_t row1, void* out, at::ScalarType dtype) {
      const at::Tensor part = values.reshape({rows, cols}).narrow(0, row0, row1 - row0).to(at::kCPU, dtype).contiguous();
      std::memcpy(out, part.const_data_ptr(), part.nbytes());
    };
  });
  return sources;
}

}  // namespace

void SaveHuggingFace(Model& model, const std::filesystem::path& out, at::ScalarType dtype, int64_t max_shard_bytes) {
  OutputFolder folder(out);
  const std::vector<WeightSource> sources = SourcesOf(model);
  WriteHubExport(PlanHubExport(model.config(), sources, dtype), folder, max_shard_bytes);
  folder.Commit();
}

}  // namespace fathom
