#include "engine/model_runner.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <utility>

#include "base/error.h"

namespace fathom {

ModelRunner::ModelRunner(std::shared_ptr<const Model> model, const RunnerLimits& limits)
    : limits_(limits), pages_each_((limits.max_sequence_tokens + kPageTokens - 1) / kPageTokens),
      runner_(std::move(model), {.num_pages = pages_each_ * limits.num_sequences, .max_sequence_tokens = limits.max_sequence_tokens, .use_graphs = limits.use_graphs}) {}

int32_t ModelRunner::NewSequence() {
  const auto sequence = static_cast<int32_t>(pages_.size());
  FATHOM_CHECK(sequence < limits_.num_sequences, "more than {} sequences", limits_.num_sequences);
  pages_.emplace_back(static_cast<size_t>(pages_each_));
  std::iota(pages_.back().begin(), pages_.back().end(), sequence * static_cast<int32_t>(pages_each_));
  lengths_.push_back(0);
  return sequence;
}

void ModelRunner::Truncate(int32_t sequence, int64_t length) {
  int64_t& held = lengths_.at(static_cast<size_t>(sequence));
  held = std::min(held, length);
}

std::vector<StepRunner::Item> ModelRunner::Append(const std::vector<Item>& items, int64_t num_logits) {
  std::vector<StepRunner::Item> steps;
  for (const Item& item : items) {
    const auto sequence = static_cast<size_t>(item.sequence);
    int64_t& length = lengths_.at(sequence);
    const std::span<const int32_t> pages(pages_[sequence]);
    steps.push_back({.tokens = item.tokens, .first_position = length, .pages = {}, .num_logits = num_logits});
    length += std::ssize(item.tokens);
    FATHOM_CHECK(length <= limits_.max_sequence_tokens, "{} tokens in a sequence of at most {}", length, limits_.max_sequence_tokens);
    steps.back().pages = pages.first(static_cast<size_t>((length + kPageTokens - 1) / kPageTokens));
  }
  return steps;
}

at::Tensor ModelRunner::Run(const std::vector<Item>& items, bool want_logits) { return runner_.Run(Append(items, want_logits ? 1 : 0)); }

std::vector<int32_t> ModelRunner::RunAndChoose(const std::vector<Item>& items, std::span<const ops::SampleRow> rows) {
  return runner_.RunAndChoose(Append(items, 1), rows, [] {});
}

}  // namespace fathom
