// T: tokens of all items; R: rows whose logits are wanted; B: items; D: model width; V: vocabulary.
#include "engine/paged_runner.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/ScalarType.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <iterator>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "engine/block_pool.h"
#include "model/placement.h"

namespace fathom {
namespace {

static_assert(kBlockTokens == kPageTokens);

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
  if (const auto replayed = Replay(items)) return replayed->logits_BV;
  const auto is_short = [](const Item& item) { return std::ssize(item.tokens) <= PagedCache::kMostAbsorbedTokens; };
  if (!model_->config().has_mla() || std::is_partitioned(items.begin(), items.end(), is_short)) return Forward(items);
  std::vector<size_t> order(items.size());  // of the items in the forward
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_partition(order.begin(), order.end(), [&](size_t i) { return is_short(items[i]); });
  std::vector<Item> sorted;
  std::vector<int64_t> first_logits(items.size()), first_rows(items.size());
  int64_t num_logits = 0;
  for (const size_t i : order) {
    sorted.push_back(items[i]);
    first_logits[i] = num_logits;
    num_logits += items[i].num_logits;
  }
  const at::Tensor logits_RV = Forward(sorted);
  if (uses_mtp_) {
    for (size_t k = 0; k < order.size(); ++k) first_rows[order[k]] = first_rows_[k];
    first_rows_ = std::move(first_rows);
  }
  if (!logits_RV.defined()) return {};
  const at::Tensor rows_R = at::empty({num_logits}, at::kLong);
  int64_t* row = rows_R.mutable_data_ptr<int64_t>();
  for (size_t i = 0; i < items.size(); ++i) row = std::generate_n(row, items[i].num_logits, [next = first_logits[i]]() mutable { return next++; });
  return logits_RV.index_select(0, rows_R.to(model_->options().device));
}

at::Tensor PagedRunner::Run(std::span<const Item> items) {
  const c10::InferenceMode inference;
  const at::Tensor logits_RV = Logits(items);
  return logits_RV.defined() ? logits_RV.to(at::kCPU, at::kFloat).contiguous() : logits_RV;
}

std::vector<int32_t> PagedRunner::RunAndChoose(std::span<const Item> items, std::span<const ops::SampleRow> rows,
                                               const std::function<void()>& before_choice) {
  const c10::InferenceMode inference;
  const bool is_greedy = std::all_of(rows.begin(), rows.end(), [](const ops::SampleRow& row) { return row.is_greedy(); });
  const bool is_free = std::all_of(rows.begin(), rows.end(), [](const ops::SampleRow& row) { return row.allowed.empty(); });
  const auto replayed = Replay(items);
  const at::Tensor logits_RV = replayed ? replayed->logits_BV : Logits(items);
  before_choice();
  if (!logits_RV.defined()) return {};
  at::Tensor tokens_R;
  if (!is_greedy) tokens_R = ops::sample_tokens(logits_RV, rows);
  else if (replayed && is_free) tokens_R = replayed->greedy_B;
  else tokens_R = GreedyTokens(is_free ? logits_RV : ops::mask_logits(logits_RV, rows));
  tokens_R = tokens_R.to(at::kCPU);
  const int64_t* tokens = tokens_R.const_data_ptr<int64_t>();
  return {tokens, tokens + tokens_R.numel()};
}

int64_t PageBytes(const ModelConfig& config, const ModelOptions& options) {
  return (config.num_hidden_layers + config.num_nextn_predict_layers) * kPageTokens * CacheBytesPerTokenPerLayer(config, options.dtype, options.kv_cache);
}

int64_t ChoosePages(const ModelConfig& config, const ModelOptions& options, double share, int64_t most, int64_t least_tokens) {
  const int64_t least = (least_tokens + kPageTokens - 1) / kPageTokens;
  const int64_t free_bytes = FreeBytesOn(options.device), page_bytes = PageBytes(config, options);
  const int64_t pages = std::min(static_cast<int64_t>(share * static_cast<double>(free_bytes)) / page_bytes, most);
  if (pages >= least) return pages;
  ThrowMachineError("--memory-fraction {}: of {} MB free memory that is room for {} tokens of cache, and one sequence may have {}", share,
                    free_bytes / 1'000'000, pages * kPageTokens, least_tokens);
}

}  // namespace fathom
