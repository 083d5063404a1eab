#include "train/batch.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "ops/cross_entropy/cross_entropy.h"

namespace fathom {
namespace {

template <typename T>
at::Tensor ToDevice(const std::vector<T>& values, at::ScalarType dtype, at::Device device) {
  at::Tensor host = at::empty({static_cast<int64_t>(values.size())}, at::TensorOptions().dtype(dtype).pinned_memory(device.is_cuda()));
  std::copy(values.begin(), values.end(), host.mutable_data_ptr<T>());
  return device.is_cpu() ? host : host.to(device, /*non_blocking=*/true);
}

PackedBatch Pack(const std::vector<int64_t>& tokens, const std::vector<int32_t>& lens, at::Device device) {
  std::vector<int64_t> positions;
  std::vector<int32_t> limits = {0};
  positions.reserve(tokens.size());
  for (const int32_t n : lens) {
    for (int32_t i = 0; i < n; ++i) positions.push_back(i);
    limits.push_back(limits.back() + n);
  }
  PackedBatch batch;
  batch.tokens_T = ToDevice(tokens, at::kLong, device);
  batch.positions_T = ToDevice(positions, at::kLong, device);
  batch.cu_seqlens = ToDevice(limits, at::kInt, device);
  batch.lens = lens;
  return batch;
}

int64_t CountTargets(const std::vector<int64_t>& targets) {
  return static_cast<int64_t>(targets.size()) - std::count(targets.begin(), targets.end(), ops::kIgnoredTarget);
}

}  // namespace

TrainBatch MakeTrainBatch(const std::vector<int64_t>& tokens, const std::vector<int64_t>& targets, const std::vector<int32_t>& lens, int64_t mtp_depths,
                          at::Device device) {
  FATHOM_CHECK(tokens.size() == targets.size() && std::accumulate(lens.begin(), lens.end(), int64_t{0}) == static_cast<int64_t>(tokens.size()),
               "{} tokens, {} targets, sequences of {} tokens", tokens.size(), targets.size(), std::accumulate(lens.begin(), lens.end(), int64_t{0}));
  TrainBatch batch;
  batch.packed = Pack(tokens, lens, device);
  batch.targets_T = ToDevice(targets, at::kLong, device);
  batch.num_targets = CountTargets(targets);
  std::vector<int64_t> depth_tokens = tokens, depth_targets = targets;
  std::vector<int32_t> depth_lens = lens;
  for (int64_t depth = 0; depth < mtp_depths; ++depth) {
    std::vector<int64_t> rows, next_tokens, next_targets;
    std::vector<int32_t> next_lens;
    int64_t first = 0;
    for (const int32_t n : depth_lens) {
      for (int64_t i = first; i + 1 < first + n; ++i) {
        rows.push_back(i);
        next_tokens.push_back(depth_tokens[static_cast<size_t>(i + 1)]);
        next_targets.push_back(depth_targets[static_cast<size_t>(i + 1)]);
      }
      if (n > 1) next_lens.push_back(n - 1);
      first += n;
    }
    MtpRows mtp;
    mtp.rows = ToDevice(rows, at::kLong, device);
    mtp.next_tokens = Pack(next_tokens, next_lens, device);
    mtp.targets = ToDevice(next_targets, at::kLong, device);
    mtp.num_targets = CountTargets(next_targets);
    batch.mtp.push_back(std::move(mtp));
    depth_tokens = std::move(next_tokens);
    depth_targets = std::move(next_targets);
    depth_lens = std::move(next_lens);
  }
  return batch;
}

}  // namespace fathom
