// B: items of a step, filled up to the ladder's size; W: pages in a row of the table; V: vocabulary.
#include "engine/decode_graphs.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/max.h>

#include <algorithm>
#include <iterator>

#include "base/error.h"
#include "ops/cuda_backend.h"

namespace fathom {

int64_t LadderSize(int64_t batch) {
  for (const int64_t size : {1, 2, 4, 8}) {
    if (batch <= size) return size;
  }
  const int64_t step = batch <= 128 ? 16 : 32;
  return (batch + step - 1) / step * step;
}

at::Tensor GreedyTokens(const at::Tensor& logits_BV) {
  // In two steps, over parts of a row and then over the parts' best: one block for a whole row would take long. The lowest id wins in both.
  const int64_t B = logits_BV.size(0), V = logits_BV.size(1);
  int64_t parts = 128;
  while (V % parts != 0) parts /= 2;
  const auto [part_best_BP, part_token_BP] = at::max(logits_BV.view({B, parts, V / parts}), -1);
  const auto [best_B1, part_B1] = at::max(part_best_BP, -1, /*keepdim=*/true);
  const at::Tensor token_B1 = part_token_BP.gather(1, part_B1).add(part_B1, V / parts);
  return token_B1.masked_fill(at::isfinite(best_B1).logical_not(), -1).view({B});
}

struct DecodeGraphs::Recorded {
  // All inputs lie in one tensor of int64, [tokens B | positions B | slots B | int32: lengths B, table B * W], sent in one copy.
  at::Tensor host, device;
  PackedBatch batch;
  PagedCache::DeviceStep step;
  std::unique_ptr<AttentionBackend> attention;
  Output output;
  ops::CudaGraph graph;

  Recorded(int64_t B, int64_t W, PagedCache& cache, at::Device on) {
    const int64_t num_words = 3 * B + (B + B * W + 1) / 2;
    host = at::empty({num_words}, at::TensorOptions().dtype(at::kLong).pinned_memory(true));
    device = at::empty({num_words}, at::TensorOptions().dtype(at::kLong).device(on));
    at::Tensor limits = at::empty({B + 1}, at::TensorOptions().dtype(at::kInt));
    for (int64_t b = 0; b <= B; ++b) limits.mutable_data_ptr<int32_t>()[b] = static_cast<int32_t>(b);
    const at::Tensor numbers = device.narrow(0, 3 * B, num_words - 3 * B).view(at::kInt);
    batch = {device.narrow(0, 0, B), device.narrow(0, B, B), limits.to(on), std::vector<int32_t>(B, 1)};
    step = {device.narrow(0, 2 * B, B), numbers.narrow(0, B, B * W).view({B, W}), numbers.narrow(0, 0, B)};
    attention = cache.BindDecode(batch, step);
  }
};

DecodeGraphs::DecodeGraphs(const Model& model, PagedCache& cache, int64_t table_width, int32_t scratch_page)
    : model_(model), cache_(cache), table_width_(table_width), scratch_page_(scratch_page) {}

DecodeGraphs::~DecodeGraphs() = default;

// The record for `batch` items; its graph is recorded by the first Run, which has values to run on.
DecodeGraphs::Recorded& DecodeGraphs::At(int64_t batch) {
  auto& recorded = recorded_[batch];
  if (!recorded) recorded = std::make_unique<Recorded>(batch, table_width_, cache_, model_.options().device);
  return *recorded;
}

DecodeGraphs::Output DecodeGraphs::Run(const std::vector<Item>& items) {
  FATHOM_CHECK(!items.empty() && std::ssize(items) <= kMostItems, "a step of {} items", items.size());
  const int64_t B = LadderSize(std::ssize(items)), W = table_width_;
  Recorded& recorded = At(B);
  int64_t* words = recorded.host.mutable_data_ptr<int64_t>();
  auto* lengths = reinterpret_cast<int32_t*>(words + 3 * B);
  for (int64_t b = 0; b < B; ++b) {
    const bool is_item = b < std::ssize(items);
    const int64_t position = is_item ? items[b].position : 0;
    int32_t* row = lengths + B + b * W;
    int32_t page = scratch_page_;
    if (is_item) {
      const std::span<const int32_t> pages = items[b].pages;
      FATHOM_CHECK(std::ssize(pages) <= W && position / kPageTokens < std::ssize(pages), "{} pages for position {} in a table of {}", pages.size(),
                   position, W);
      std::copy(pages.begin(), pages.end(), row);
      page = pages[position / kPageTokens];
    } else {
      row[0] = scratch_page_;
    }
    words[b] = is_item ? items[b].token : 0;
    words[B + b] = position;
    words[2 * B + b] = page * kPageTokens + position % kPageTokens;
    lengths[b] = static_cast<int32_t>(position) + 1;
  }
  recorded.device.copy_(recorded.host, /*non_blocking=*/true);
  if (!recorded.output.logits_BV.defined()) {
    const auto forward = [&] {
      const at::Tensor hidden_BD = model_.Forward(recorded.batch, {.attention = recorded.attention.get()});
      const at::Tensor logits_BV = model_.Head(hidden_BD);
      return Output{logits_BV, GreedyTokens(logits_BV)};
    };
    forward();  // libraries choose and load their kernels outside of the recording
    recorded.graph.Capture([&] { recorded.output = forward(); });
  }
  recorded.graph.Replay();
  return {recorded.output.logits_BV.narrow(0, 0, std::ssize(items)), recorded.output.greedy_B.narrow(0, 0, std::ssize(items))};
}

}  // namespace fathom
