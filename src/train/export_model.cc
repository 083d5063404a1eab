#include "train/export_model.h"

#include <ATen/core/grad_mode.h>

#include <utility>
#include <vector>

#include "base/error.h"
#include "checkpoint/checkpoint.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxShardBytes = int64_t{5} << 30;

void CopyTokenizer(const fs::path& tokenizer, const fs::path& folder) {
  const fs::path from = fs::is_directory(tokenizer) ? tokenizer : tokenizer.parent_path();
  std::error_code error;
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "generation_config.json"}) {
    if (fs::exists(from / name)) fs::copy_file(from / name, folder / name, fs::copy_options::overwrite_existing, error);
    if (error) ThrowMachineError("cannot copy {} to {}: {}", (from / name).string(), folder.string(), error.message());
  }
}

// Exchanges the leaves' values with their averages.
class AveragedWeights {
 public:
  explicit AveragedWeights(Trainer& trainer) : trainer_(trainer) { Copy(&kept_, trainer.average()->values()); }
  ~AveragedWeights() { Copy(nullptr, kept_); }

 private:
  void Copy(std::vector<at::Tensor>* kept, const std::vector<at::Tensor>& values) {
    const at::NoGradGuard no_grad;
    const auto& leaves = trainer_.optimizer().leaves();
    for (size_t i = 0; i < leaves.size(); ++i) {
      at::Tensor leaf = leaves[i].second.detach();
      if (kept != nullptr) kept->push_back(leaf.clone());
      leaf.copy_(values[i]);
    }
  }
  Trainer& trainer_;
  std::vector<at::Tensor> kept_;
};

}  // namespace

void ExportModel(Trainer& trainer, const Recipe& recipe, bool average, const fs::path& folder) {
  FATHOM_USER_CHECK(!average || trainer.average() != nullptr, "the recipe averages no weights: optimizer.average is 0");
  std::optional<AveragedWeights> averaged;
  if (average) averaged.emplace(trainer);
  SaveHuggingFace(trainer.model(), folder, recipe.dtype, kMaxShardBytes);
  CopyTokenizer(recipe.tokenizer, folder);
}

}  // namespace fathom
