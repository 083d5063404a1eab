// T: tokens of all items; B: items; D: model width; V: vocabulary.
#include "engine/model_runner.h"

#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "model/placement.h"

namespace fathom {
namespace {

int64_t PagesFor(int64_t num_tokens) { return (num_tokens + kPageTokens - 1) / kPageTokens; }

// Built on the host and sent to the device at once.
class BatchBuilder {
 public:
  void Append(const std::vector<int32_t>& tokens, int64_t first_position) {
    for (size_t i = 0; i < tokens.size(); ++i) {
      tokens_.push_back(tokens[i]);
      positions_.push_back(first_position + static_cast<int64_t>(i));
    }
    limits_.push_back(static_cast<int32_t>(tokens_.size()));
    last_rows_.push_back(static_cast<int64_t>(tokens_.size()) - 1);
  }
  PackedBatch Build(at::Device device) const { return {ToTensor(tokens_, device), ToTensor(positions_, device), ToTensor(limits_, device)}; }
  at::Tensor LastRows(at::Device device) const { return ToTensor(last_rows_, device); }

 private:
  template <typename T>
  static at::Tensor ToTensor(const std::vector<T>& values, at::Device device) {
    const at::Tensor on_host = at::empty({std::ssize(values)}, at::TensorOptions().dtype(c10::CppTypeToScalarType<T>::value));
    std::copy(values.begin(), values.end(), on_host.mutable_data_ptr<T>());
    return on_host.to(device);
  }
  std::vector<int64_t> tokens_, positions_, last_rows_;
  std::vector<int32_t> limits_ = {0};
};

}  // namespace

ModelRunner::ModelRunner(std::shared_ptr<const Model> model, const RunnerLimits& limits)
    : model_(std::move(model)), limits_(limits), allocator_(PagesFor(limits.max_sequence_tokens) * limits.num_sequences),
      cache_(model_->config(), model_->options(),
             PagesFor(limits.max_sequence_tokens) * limits.num_sequences + (model_->options().device.is_cuda() ? 1 : 0)) {
  if (model_->options().device.is_cuda() && limits.use_graphs && !IsSplit(model_->config(), model_->options())) {
    const int64_t width = PagesFor(limits.max_sequence_tokens);
    graphs_ = std::make_unique<DecodeGraphs>(*model_, cache_, width, static_cast<int32_t>(width * limits.num_sequences));
  }
}

ModelRunner::~ModelRunner() = default;

int64_t ModelRunner::vocab_size() const { return model_->config().vocab_size; }
int64_t ModelRunner::max_sequence_tokens() const { return limits_.max_sequence_tokens; }

ModelRunner::Sequence& ModelRunner::At(int32_t sequence) {
  FATHOM_CHECK(sequence >= 0 && sequence < std::ssize(sequences_) && sequences_[sequence], "no sequence {}", sequence);
  return *sequences_[sequence];
}

int32_t ModelRunner::NewSequence() {
  const auto empty = std::find(sequences_.begin(), sequences_.end(), std::nullopt);
  const auto index = static_cast<int32_t>(empty - sequences_.begin());
  if (empty == sequences_.end()) sequences_.emplace_back();
  sequences_[index].emplace();
  return index;
}

void ModelRunner::FreeSequence(int32_t sequence) {
  for (const int32_t page : At(sequence).pages) allocator_.Release(page);
  sequences_[sequence].reset();
}

std::vector<int32_t> ModelRunner::Fork(int32_t sequence, int64_t count) {
  const Sequence parent = At(sequence);
  const int64_t num_whole = std::ssize(parent.tokens) / kPageTokens;
  std::vector<int32_t> children;
  std::vector<Item> tails;
  for (int64_t i = 0; i < count; ++i) {
    const int32_t child_id = NewSequence();
    children.push_back(child_id);
    Sequence& child = At(child_id);
    child.tokens.assign(parent.tokens.begin(), parent.tokens.begin() + num_whole * kPageTokens);
    child.pages.assign(parent.pages.begin(), parent.pages.begin() + num_whole);
    for (const int32_t page : child.pages) allocator_.Share(page);
    if (std::ssize(parent.tokens) > num_whole * kPageTokens) {
      tails.push_back({child_id, {parent.tokens.begin() + num_whole * kPageTokens, parent.tokens.end()}});
    }
  }
  if (!tails.empty()) Run(tails, /*want_logits=*/false);
  return children;
}

int64_t ModelRunner::Truncate(int32_t sequence, int64_t length) {
  Sequence& s = At(sequence);
  length = std::min<int64_t>(length, std::ssize(s.tokens));
  // What comes next is written behind `length`: that page must not be another's too.
  if (length % kPageTokens != 0 && allocator_.num_users(s.pages[length / kPageTokens]) > 1) length -= length % kPageTokens;
  while (std::ssize(s.pages) > PagesFor(length)) {
    allocator_.Release(s.pages.back());
    s.pages.pop_back();
  }
  s.tokens.resize(length);
  return length;
}

const std::vector<int32_t>& ModelRunner::Tokens(int32_t sequence) const { return const_cast<ModelRunner*>(this)->At(sequence).tokens; }

void ModelRunner::Grow(const std::vector<Item>& items) {
  for (const Item& item : items) {
    Sequence& s = At(item.sequence);
    s.tokens.insert(s.tokens.end(), item.tokens.begin(), item.tokens.end());
    FATHOM_CHECK(std::ssize(s.tokens) <= limits_.max_sequence_tokens, "{} tokens in a sequence of at most {}", s.tokens.size(),
                 limits_.max_sequence_tokens);
    while (std::ssize(s.pages) < PagesFor(std::ssize(s.tokens))) s.pages.push_back(allocator_.Allocate());
  }
}

at::Tensor ModelRunner::Forward(const std::vector<Item>& items, bool want_logits) {
  BatchBuilder builder;
  PagedCache::Step step;
  size_t widest = 0;
  for (const Item& item : items) {
    const Sequence& s = At(item.sequence);
    builder.Append(item.tokens, std::ssize(s.tokens) - std::ssize(item.tokens));
    step.page_table.push_back(s.pages);
    step.kv_lens.push_back(static_cast<int32_t>(s.tokens.size()));
    widest = std::max(widest, s.pages.size());
  }
  for (auto& pages : step.page_table) pages.resize(widest, -1);
  const at::Device device = model_->options().device;
  const PackedBatch batch = builder.Build(device);
  const auto attention = cache_.Bind(batch, step);
  const at::Tensor hidden_TD = model_->Forward(batch, {.attention = attention.get(), .routing = nullptr});
  if (!want_logits) return {};
  const at::Tensor last_BD = hidden_TD.size(0) == std::ssize(items) ? hidden_TD : hidden_TD.index_select(0, builder.LastRows(device));
  return model_->Head(last_BD);
}

std::optional<DecodeGraphs::Output> ModelRunner::Replay(const std::vector<Item>& items) {
  if (!graphs_ || std::ssize(items) > DecodeGraphs::kMostItems) return std::nullopt;
  std::vector<DecodeGraphs::Item> rows;
  for (const Item& item : items) {
    if (item.tokens.size() != 1) return std::nullopt;
    const Sequence& s = At(item.sequence);
    rows.push_back({item.tokens[0], std::ssize(s.tokens) - 1, &s.pages});
  }
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

at::Tensor ModelRunner::Run(const std::vector<Item>& items, bool want_logits) {
  c10::InferenceMode inference;
  Grow(items);
  const auto replayed = Replay(items);
  const at::Tensor logits_BV = replayed ? replayed->logits_BV : Forward(items, want_logits);
  return want_logits ? logits_BV.to(at::kCPU, at::kFloat).contiguous() : at::Tensor();
}

std::vector<int32_t> ModelRunner::RunGreedy(const std::vector<Item>& items) {
  c10::InferenceMode inference;
  Grow(items);
  const auto replayed = Replay(items);
  const at::Tensor best_B = (replayed ? replayed->greedy_B : GreedyTokens(Forward(items, true))).to(at::kCPU);
  const int64_t* best = best_B.const_data_ptr<int64_t>();
  return {best, best + best_B.numel()};
}

}  // namespace fathom
