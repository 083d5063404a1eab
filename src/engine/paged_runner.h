// The step runner of a real model over the paged cache.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "engine/decode_graphs.h"
#include "engine/step_runner.h"
#include "model/attention_backend.h"
#include "model/model.h"

namespace fathom {

struct PagedRunnerOptions {
  int64_t num_pages = 0;
  int64_t max_sequence_tokens = 0;  // the longest row of a page table
  bool use_graphs = true;           // on a GPU: replay steps of one token an item from CUDA graphs
  bool use_mtp = false;             // guess by the model's MTP module, where it has one; steps are then run without graphs
};

class PagedRunner : public StepRunner {
 public:
  // Allocates the cache. Throws MachineError when memory does not suffice.
  PagedRunner(std::shared_ptr<const Model> model, const PagedRunnerOptions& options);
  ~PagedRunner() override;

  int64_t vocab_size() const override { return model_->config().vocab_size; }
  int64_t num_pages() const override { return num_pages_; }
  at::Tensor Run(std::span<const Item> items) override;
  bool picks_tokens() const override { return model_->options().device.is_cuda(); }
  std::vector<int32_t> RunAndChoose(std::span<const Item> items, std::span<const ops::SampleRow> rows,
                                    const std::function<void()>& before_choice) override;

  bool has_drafts() const override { return uses_mtp_; }
  std::vector<int32_t> Draft(std::span<const DraftItem> items) override;
  std::vector<float> Embed(std::span<const int32_t> tokens, Pooling pooling) override;

  bool uses_graphs() const { return graphs_ != nullptr; }
  int64_t cache_bytes() const { return cache_.num_bytes(); }

 private:
  // Logits of the rows that are wanted, on the device; undefined where none are. Where `items` mix decode and prompts the forward has decode first, so
  // that MLA attends in the form that suits each.
  at::Tensor Logits(std::span<const Item> items);
  at::Tensor Forward(std::span<const Item> items);
  std::optional<DecodeGraphs::Output> Replay(std::span<const Item> items);

  std::shared_ptr<const Model> model_;
  int64_t num_pages_;
  PagedCache cache_;
  bool uses_mtp_;
  at::Tensor hidden_TD_;             // of the last step, where MTP is used
  std::vector<int64_t> first_rows_;  // in it, of each item
  std::unique_ptr<DecodeGraphs> graphs_;  // null: not on a GPU, or the step cannot be recorded
};

// Bytes that one page of a model's cache takes.
int64_t PageBytes(const ModelConfig& config, const ModelOptions& options);

// Pages for `share` of the memory that is free on the model's device now, at most `most`, at least enough for one sequence of `least_tokens` tokens: throws
// MachineError naming the flag --memory-fraction where those do not fit.
int64_t ChoosePages(const ModelConfig& config, const ModelOptions& options, double share, int64_t most, int64_t least_tokens);

}  // namespace fathom
