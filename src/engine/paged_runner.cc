// T: tokens of all items; R: rows whose logits are wanted; B: items; D: model width; V: vocabulary.
#include "engine/paged_runner.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/ScalarType.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "base/error.h"
#include "base/free_memory.h"
#include "base/log.h"
#include "engine/block_pool.h"
#include "model/placement.h"
#include "ops/cuda_backend.h"

namespace fathom {
namespace {

static_assert(kBlockTokens == kPageTokens);

constexpr int64_t kFewTokens = 4;  // of a sequence: PagedCache absorbs steps of at most so many

// Built on the host and sent to the device at once.
class BatchBuilder {
 public:
  void Append(const StepRunner::Item& item) {
    for (size_t i = 0; i < item.tokens.size(); ++i) {
      tokens_.push_back(item.tokens[i]);
      positions_.push_back(item.first_position + static_cast<int64_t>(i));
    }
    limits_.push_back(static_cast<int32_t>(tokens_.size()));
    lens_.push_back(static_cast<int32_t>(item.tokens.size()));
    for (int64_t row = item.num_logits; row > 0; --row) wanted_rows_.push_back(std::ssize(tokens_) - row);
  }
  PackedBatch Build(at::Device device) const { return {ToTensor(tokens_, device), ToTensor(positions_, device), ToTensor(limits_, device), lens_}; }
  int64_t num_wanted() const { return std::ssize(wanted_rows_); }
  at::Tensor WantedRows(at::Device device) const { return ToTensor(wanted_rows_, device); }

 private:
  template <typename T>
  static at::Tensor ToTensor(const std::vector<T>& values, at::Device device) {
    const at::Tensor on_host = at::empty({std::ssize(values)}, at::TensorOptions().dtype(c10::CppTypeToScalarType<T>::value));
    std::copy(values.begin(), values.end(), on_host.mutable_data_ptr<T>());
    return on_host.to(device);
  }
  std::vector<int64_t> tokens_, positions_, wanted_rows_;
  std::vector<int32_t> limits_ = {0}, lens_;
};

PagedCache::Step StepOf(std::span<const StepRunner::Item> items) {
  PagedCache::Step step;
  size_t widest = 0;
  for (const StepRunner::Item& item : items) {
    step.page_table.emplace_back(item.pages.begin(), item.pages.end());
    step.kv_lens.push_back(static_cast<int32_t>(item.first_position + std::ssize(item.tokens)));
    widest = std::max(widest, item.pages.size());
  }
  for (auto& pages : step.page_table) pages.resize(widest, -1);
  return step;
}

bool IsDecodeStep(std::span<const StepRunner::Item> items) {
  return std::ssize(items) <= DecodeGraphs::kMostItems &&
         std::all_of(items.begin(), items.end(), [](const auto& item) { return item.tokens.size() == 1 && item.num_logits == 1; });
}

int64_t FreeBytes(at::Device device) {
  if (!device.is_cuda()) return FreeMemoryBytes();
  size_t free_bytes = 0, total_bytes = 0;
  const FathomCudaTable* table = ops::CudaTable();
  FATHOM_CHECK(table != nullptr, "a CUDA device without its backend");
  if (table->memory_info(std::max<int32_t>(device.index(), 0), &free_bytes, &total_bytes) != 0) ThrowMachineError("the device's memory: {}", table->last_error());
  return static_cast<int64_t>(free_bytes);
}

}  // namespace

PagedRunner::PagedRunner(std::shared_ptr<const Model> model, const PagedRunnerOptions& options)
    : model_(std::move(model)), num_pages_(options.num_pages),
      // On a GPU one page more: rows that fill a recorded step up write there.
      cache_(model_->config(), model_->options(), options.num_pages + (model_->options().device.is_cuda() ? 1 : 0)),
      uses_mtp_(options.use_mtp && model_->config().num_nextn_predict_layers > 0) {
  if (model_->options().device.is_cuda() && options.use_graphs && !uses_mtp_ && !IsSplit(model_->config(), model_->options())) {
    const int64_t width = (options.max_sequence_tokens + kPageTokens - 1) / kPageTokens;
    graphs_ = std::make_unique<DecodeGraphs>(*model_, cache_, width, static_cast<int32_t>(num_pages_));
  }
}

PagedRunner::~PagedRunner() = default;

at::Tensor PagedRunner::Forward(std::span<const Item> items) {
  BatchBuilder builder;
  for (const Item& item : items) builder.Append(item);
  const at::Device device = model_->options().device;
  const PackedBatch batch = builder.Build(device);
  const auto attention = cache_.Bind(batch, StepOf(items));
  const at::Tensor hidden_TD = model_->Forward(batch, {.attention = attention.get(), .routing = nullptr});
  if (uses_mtp_) {
    hidden_TD_ = hidden_TD;
    first_rows_.clear();
    int64_t row = 0;
    for (const Item& item : items) {
      first_rows_.push_back(row);
      row += std::ssize(item.tokens);
    }
  }
  if (builder.num_wanted() == 0) return {};
  return model_->Head(hidden_TD.size(0) == builder.num_wanted() ? hidden_TD : hidden_TD.index_select(0, builder.WantedRows(device)));
}

std::vector<int32_t> PagedRunner::Draft(std::span<const DraftItem> drafts) {
  const c10::InferenceMode inference;
  if (drafts.empty()) return {};
  BatchBuilder builder;
  std::vector<Item> items;
  std::vector<at::Tensor> hidden;
  for (const DraftItem& draft : drafts) {
    items.push_back({.tokens = draft.next_tokens, .first_position = draft.first_position, .pages = draft.pages, .num_logits = 1});
    builder.Append(items.back());
    hidden.push_back(hidden_TD_.narrow(0, first_rows_.at(static_cast<size_t>(draft.item)), std::ssize(draft.next_tokens)));
  }
  const at::Device device = model_->options().device;
  const PackedBatch batch = builder.Build(device);
  const auto attention = cache_.Bind(batch, StepOf(items));
  const at::Tensor mtp_TD = model_->Mtp(0, at::cat(hidden), batch, {.attention = attention.get(), .routing = nullptr});
  const at::Tensor best_B = GreedyTokens(model_->MtpHead(0, mtp_TD.index_select(0, builder.WantedRows(device)))).to(at::kCPU);
  const int64_t* best = best_B.const_data_ptr<int64_t>();
  return {best, best + best_B.numel()};
}

std::vector<float> PagedRunner::Embed(std::span<const int32_t> tokens, Pooling pooling) {
  const c10::InferenceMode inference;
  const PackedBatch batch = PackedBatch::FromSequences({{tokens.begin(), tokens.end()}}, model_->options().device);
  const auto attention = MakePackedCausal(model_->config(), batch);
  const at::Tensor hidden_TD = model_->Forward(batch, {.attention = attention.get(), .routing = nullptr});
  const at::Tensor rows_TD = (pooling == Pooling::kLast ? hidden_TD.narrow(0, hidden_TD.size(0) - 1, 1) : hidden_TD).to(at::kFloat);
  at::Tensor pooled_D = rows_TD.mean(0);
  pooled_D = pooled_D.div(pooled_D.norm().clamp_min(1e-12)).to(at::kCPU).contiguous();
  const float* values = pooled_D.const_data_ptr<float>();
  return {values, values + pooled_D.numel()};
}

std::optional<DecodeGraphs::Output> PagedRunner::Replay(std::span<const Item> items) {
  if (!graphs_ || !IsDecodeStep(items)) return std::nullopt;
  std::vector<DecodeGraphs::Item> rows;
  for (const Item& item : items) rows.push_back({item.tokens[0], item.first_position, item.pages});
  try {
    return graphs_->Run(rows);
  } catch (const MachineError& error) {
    LogWarn("decode steps run without a CUDA graph: {}", error.what());
  } catch (const c10::Error& error) {
    LogWarn("decode steps run without a CUDA graph: {}", error.what_without_backtrace());
  }
  graphs_.reset();
  return std::nullopt;
}

at::Tensor PagedRunner::Logits(std::span<const Item> items) {
  struct Kind {
    std::vector<Item> items;
    std::vector<size_t> places;  // in the step
  };
  std::array<Kind, 2> kinds;  // a few tokens, and more
  std::vector<int64_t> first_logits;  // rows of the result
  int64_t num_rows = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    Kind& kind = kinds[std::ssize(items[i].tokens) > kFewTokens ? 1 : 0];
    kind.items.push_back(items[i]);
    kind.places.push_back(i);
    first_logits.push_back(num_rows);
    num_rows += items[i].num_logits;
  }
  const bool is_mixed = !kinds[0].items.empty() && !kinds[1].items.empty();
  if (!is_mixed || !(model_->config().has_mla() || graphs_)) {
    const auto replayed = Replay(items);
    return replayed ? replayed->logits_BV : Forward(items);
  }
  std::vector<at::Tensor> logits, hidden;
  std::vector<int64_t> first_rows(items.size());
  const at::Tensor order_R = at::empty({num_rows}, at::kLong);
  int64_t next_logits = 0, next_hidden = 0;
  for (const Kind& kind : kinds) {
    const auto replayed = Replay(kind.items);
    const at::Tensor part = replayed ? replayed->logits_BV : Forward(kind.items);
    if (part.defined()) logits.push_back(part);
    for (size_t i = 0; i < kind.items.size(); ++i) {
      for (int64_t r = 0; r < kind.items[i].num_logits; ++r) order_R.mutable_data_ptr<int64_t>()[first_logits[kind.places[i]] + r] = next_logits++;
      if (uses_mtp_) first_rows[kind.places[i]] = next_hidden + first_rows_[i];
    }
    if (!uses_mtp_) continue;
    hidden.push_back(hidden_TD_);
    next_hidden += hidden_TD_.size(0);
  }
  if (uses_mtp_) {
    hidden_TD_ = at::cat(hidden);
    first_rows_ = std::move(first_rows);
  }
  return logits.empty() ? at::Tensor() : at::cat(logits).index_select(0, order_R.to(model_->options().device));
}

at::Tensor PagedRunner::Run(std::span<const Item> items) {
  const c10::InferenceMode inference;
  const at::Tensor logits_RV = Logits(items);
  return logits_RV.defined() ? logits_RV.to(at::kCPU, at::kFloat).contiguous() : logits_RV;
}

std::vector<int32_t> PagedRunner::RunGreedy(std::span<const Item> items) {
  const c10::InferenceMode inference;
  const auto replayed = Replay(items);
  at::Tensor best_R;
  if (replayed) {
    best_R = replayed->greedy_B;
  } else {
    const at::Tensor logits_RV = Logits(items);
    if (!logits_RV.defined()) return {};
    best_R = GreedyTokens(logits_RV);
  }
  best_R = best_R.to(at::kCPU);
  const int64_t* best = best_R.const_data_ptr<int64_t>();
  return {best, best + best_R.numel()};
}

int64_t PageBytes(const ModelConfig& config, at::ScalarType dtype) {
  const int64_t values = config.kv_values_per_token_per_layer();
  return (config.num_hidden_layers + config.num_nextn_predict_layers) * kPageTokens * values * static_cast<int64_t>(c10::elementSize(dtype));
}

int64_t ChoosePages(const ModelConfig& config, at::ScalarType dtype, at::Device device, double share, int64_t most, int64_t least_tokens) {
  const int64_t least = (least_tokens + kPageTokens - 1) / kPageTokens;
  const int64_t free_bytes = FreeBytes(device), page_bytes = PageBytes(config, dtype);
  const int64_t pages = std::min(static_cast<int64_t>(share * static_cast<double>(free_bytes)) / page_bytes, most);
  if (pages >= least) return pages;
  ThrowMachineError("--memory-fraction {}: of {} MB free memory that is room for {} tokens of cache, and one sequence may have {}", share,
                    free_bytes / 1'000'000, pages * kPageTokens, least_tokens);
}

}  // namespace fathom
