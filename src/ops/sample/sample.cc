// B: rows; V: vocabulary; N: seen tokens of all rows.
#include "ops/sample/sample.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/bitwise_and.h>
#include <ATen/ops/bitwise_right_shift.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eq.h>
#include <ATen/ops/masked_fill.h>
#include <torch/library.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "ops/cpu/dtype.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

// (logits, settings [B, 8] in the order of SampleRow's fields, biases [N], seen [N, 2], limits [B + 1])
using SampleTokensOp = Op<"fathom::sample_tokens", Tensor(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&)>;

// Everything that the kernels read of the rows in one piece of memory, so that it goes to a device in one copy:
// settings [B, 8] double | biases [N] double | seen [N, 2] int32 | limits [B + 1] int32.
struct PackedRows {
  Tensor settings, biases, seen, limits;
};

PackedRows Pack(std::span<const SampleRow> rows, at::Device device) {
  const auto B = static_cast<int64_t>(rows.size());
  int64_t N = 0;
  for (const SampleRow& row : rows) N += static_cast<int64_t>(row.seen.size());
  const int64_t words = 8 * B + 2 * N + (B + 2) / 2;
  const Tensor host = at::empty({words}, at::TensorOptions().dtype(at::kDouble).pinned_memory(device.is_cuda()));
  double* settings = host.mutable_data_ptr<double>();
  double* biases = settings + 8 * B;
  auto* seen = reinterpret_cast<int32_t*>(biases + N);
  int32_t* limits = seen + 2 * N;
  limits[0] = 0;
  for (int64_t b = 0; b < B; ++b) {
    const SampleRow& row = rows[static_cast<size_t>(b)];
    const double values[8] = {row.temperature,        static_cast<double>(row.top_k), row.top_p,   row.min_p, row.repetition_penalty,
                              row.presence_penalty, row.frequency_penalty,          row.uniform};
    std::memcpy(settings + 8 * b, values, sizeof(values));
    int32_t at = limits[b];
    for (const SeenToken& token : row.seen) {
      seen[2 * at] = token.token;
      seen[2 * at + 1] = token.count;
      biases[at++] = token.bias;
    }
    limits[b + 1] = at;
  }
  const Tensor there = host.to(device, /*non_blocking=*/true);
  const Tensor numbers = there.narrow(0, 8 * B + N, words - 8 * B - N).view(at::kInt);
  return {there.narrow(0, 0, 8 * B).view({B, 8}), there.narrow(0, 8 * B, N), numbers.narrow(0, 0, 2 * N).view({N, 2}), numbers.narrow(0, 2 * N, B + 1)};
}

}  // namespace

Tensor sample_tokens(const Tensor& logits_BV, std::span<const SampleRow> rows) {
  FATHOM_CHECK(logits_BV.dim() == 2 && IsFloatDtype(logits_BV.scalar_type()) && logits_BV.size(0) == static_cast<int64_t>(rows.size()),
               "sample_tokens: logits [B, V] of f32, bf16 or f16 and B rows, got {} rows", rows.size());
  FATHOM_CHECK(logits_BV.size(1) > 0 && logits_BV.size(1) < (int64_t{1} << 20), "sample_tokens: a vocabulary of 1 to 2^20 - 1 tokens, got {}",
               logits_BV.size(1));
  const PackedRows packed = Pack(rows, logits_BV.device());
  const Tensor masked = mask_logits(logits_BV, rows);
  const Tensor logits = masked.stride(1) == 1 || masked.size(1) == 1 ? masked : masked.contiguous();
  return SampleTokensOp::Call(logits, packed.settings, packed.biases, packed.seen, packed.limits);
}

Tensor mask_logits(const Tensor& logits_BV, std::span<const SampleRow> rows) {
  if (std::all_of(rows.begin(), rows.end(), [](const SampleRow& row) { return row.allowed.empty(); })) return logits_BV;
  const int64_t B = logits_BV.size(0), V = logits_BV.size(1), W = (V + 31) / 32;
  FATHOM_CHECK(B == static_cast<int64_t>(rows.size()), "mask_logits: {} rows of logits, and {} rows", B, rows.size());
  const auto ints = at::TensorOptions().dtype(at::kInt);
  const Tensor host_BW = at::empty({B, W}, ints.pinned_memory(logits_BV.is_cuda()));
  for (int64_t b = 0; b < B; ++b) {
    const std::span<const uint32_t> allowed = rows[static_cast<size_t>(b)].allowed;
    FATHOM_CHECK(allowed.empty() || static_cast<int64_t>(allowed.size()) == W, "mask_logits: {} words of allowed tokens, expected {}", allowed.size(), W);
    int32_t* words = host_BW.mutable_data_ptr<int32_t>() + b * W;
    if (allowed.empty()) std::fill_n(words, W, -1);
    else std::memcpy(words, allowed.data(), static_cast<size_t>(W) * sizeof(int32_t));
  }
  const Tensor bits = at::arange(32, ints.device(logits_BV.device()));
  const Tensor words_BW = host_BW.to(logits_BV.device(), /*non_blocking=*/true);
  const Tensor is_out_BV = words_BW.unsqueeze(2).bitwise_right_shift(bits).bitwise_and(1).eq(0).view({B, W * 32}).narrow(1, 0, V);
  return logits_BV.masked_fill(is_out_BV, -std::numeric_limits<double>::infinity());
}

TORCH_LIBRARY_IMPL(fathom, Autograd, m) { m.impl("sample_tokens", TORCH_FN(SampleTokensOp::NotDifferentiable)); }

}  // namespace fathom::ops
