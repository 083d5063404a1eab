#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <c10/util/Float8_e4m3fn.h>
#include <torch/library.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <tuple>
#include <vector>

#include "ops/cpu/dtype.h"
#include "ops/fp8/fp8.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

using E4m3 = c10::Float8_e4m3fn;

float ScaleOf(float largest, bool power_of_two) {
  const float scale = std::max(largest, 1e-30f) / 448.0f;
  if (!power_of_two) return scale;
  const auto bits = std::bit_cast<uint32_t>(scale);
  return std::bit_cast<float>((bits + 0x7fffffu) & 0x7f800000u);
}

// Quantises count values `stride` apart, from x (converted by `load`) to v: their scale.
template <typename Load, typename Store>
float QuantizeBlock(int64_t count, bool power_of_two, Load load, Store store) {
  float largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(load(i)));
  const float scale = ScaleOf(largest, power_of_two), inverse = 1.0f / scale;
  for (int64_t i = 0; i < count; ++i) store(i, E4m3(load(i) * inverse));
  return scale;
}

struct RowBlock {
  int64_t first, count;
};

// The blocks of rows of all experts, in their order; as many as the output has.
std::vector<RowBlock> RowBlocks(int64_t num_rows, const OptionalTensor& offsets) {
  std::vector<RowBlock> blocks;
  const auto add = [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; row += kFp8Block) blocks.push_back({row, std::min(kFp8Block, end - row)});
  };
  if (!offsets) {
    add(0, num_rows);
    return blocks;
  }
  const int32_t* limits = offsets->const_data_ptr<int32_t>();
  for (int64_t e = 0; e + 1 < offsets->numel(); ++e) {
    FATHOM_CHECK(limits[e] >= 0 && limits[e] <= limits[e + 1] && limits[e + 1] <= num_rows, "fp8_quantize: offsets of expert {} are {} .. {} of {} rows", e,
                 limits[e], limits[e + 1], num_rows);
    add(limits[e], limits[e + 1]);
  }
  return blocks;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> QuantizeCpu(const Tensor& x, const OptionalTensor& offsets, bool rows, bool columns, bool power_of_two) {
  const int64_t M = x.size(0), K = x.size(1), KB = NumFp8Blocks(K), stride = x.stride(0);
  const int64_t MB = offsets ? (M + (kFp8Block - 1) * (offsets->numel() - 1)) / kFp8Block : NumFp8Blocks(M);
  const auto options = x.options();
  Tensor row_values = at::empty(rows ? std::vector<int64_t>{M, K} : std::vector<int64_t>{0}, options.dtype(at::kFloat8_e4m3fn));
  Tensor row_scales = at::empty(rows ? std::vector<int64_t>{KB, M} : std::vector<int64_t>{0}, options.dtype(at::kFloat));
  Tensor column_values = at::empty(columns ? std::vector<int64_t>{MB, K, kFp8Block} : std::vector<int64_t>{0}, options.dtype(at::kFloat8_e4m3fn));
  Tensor column_scales = at::empty(columns ? std::vector<int64_t>{MB, K} : std::vector<int64_t>{0}, options.dtype(at::kFloat));
  DispatchFloat(x.scalar_type(), [&](auto zero) {
    using V = decltype(zero);
    const V* xp = x.const_data_ptr<V>();
    if (rows) {
      E4m3* vp = row_values.mutable_data_ptr<E4m3>();
      float* sp = row_scales.mutable_data_ptr<float>();
      at::parallel_for(0, M, 8, [&](int64_t begin, int64_t end) {
        for (int64_t m = begin; m < end; ++m) {
          for (int64_t kb = 0; kb < KB; ++kb) {
            const V* block = xp + m * stride + kb * kFp8Block;
            E4m3* out = vp + m * K + kb * kFp8Block;
            sp[kb * M + m] = QuantizeBlock(
                std::min(kFp8Block, K - kb * kFp8Block), power_of_two, [&](int64_t i) { return static_cast<float>(block[i]); },
                [&](int64_t i, E4m3 value) { out[i] = value; });
          }
        }
      });
    }
    if (columns) {
      const std::vector<RowBlock> blocks = RowBlocks(M, offsets);
      E4m3* vp = column_values.mutable_data_ptr<E4m3>();
      float* sp = column_scales.mutable_data_ptr<float>();
      at::parallel_for(0, static_cast<int64_t>(blocks.size()), 1, [&](int64_t begin, int64_t end) {
        for (int64_t b = begin; b < end; ++b) {
          for (int64_t k = 0; k < K; ++k) {
            const V* column = xp + blocks[b].first * stride + k;
            E4m3* out = vp + (b * K + k) * kFp8Block;
            std::fill(out, out + kFp8Block, E4m3(0.0f));
            sp[b * K + k] = QuantizeBlock(
                blocks[b].count, power_of_two, [&](int64_t i) { return static_cast<float>(column[i * stride]); },
                [&](int64_t i, E4m3 value) { out[i] = value; });
          }
        }
      });
    }
  });
  return {row_values, row_scales, column_values, column_scales};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> QuantizeWeightCpu(const Tensor& w, bool power_of_two) {
  const int64_t E = w.size(0), N = w.size(1), K = w.size(2), NB = NumFp8Blocks(N), KB = NumFp8Blocks(K);
  const auto options = w.options();
  Tensor values = at::empty({E, N, K}, options.dtype(at::kFloat8_e4m3fn)), scales = at::empty({E, NB, KB}, options.dtype(at::kFloat));
  E4m3* vp = values.mutable_data_ptr<E4m3>();
  float* sp = scales.mutable_data_ptr<float>();
  DispatchFloat(w.scalar_type(), [&](auto zero) {
    using V = decltype(zero);
    const V* wp = w.const_data_ptr<V>();
    at::parallel_for(0, E * NB * KB, 1, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        const int64_t n0 = b / KB % NB * kFp8Block, k0 = b % KB * kFp8Block, width = std::min(kFp8Block, K - k0);
        const int64_t corner = (b / (NB * KB) * N + n0) * K + k0;
        const auto at = [&](int64_t i) { return corner + i / width * K + i % width; };
        sp[b] = QuantizeBlock(
            std::min(kFp8Block, N - n0) * width, power_of_two, [&](int64_t i) { return static_cast<float>(wp[at(i)]); },
            [&](int64_t i, E4m3 value) { vp[at(i)] = value; });
      }
    });
  });
  return {values, scales, values.view(at::kByte).transpose(1, 2).contiguous().view(at::kFloat8_e4m3fn), scales.transpose(1, 2).contiguous()};
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CPU, m) {
  m.impl("fp8_quantize", TORCH_FN(QuantizeCpu));
  m.impl("fp8_quantize_weight", TORCH_FN(QuantizeWeightCpu));
}

TORCH_LIBRARY_IMPL(fathom, Autograd, m) {
  m.impl("fp8_quantize", TORCH_FN(Fp8QuantizeOp::NotDifferentiable));
  m.impl("fp8_quantize_weight", TORCH_FN(Fp8QuantizeWeightOp::NotDifferentiable));
}

}  // namespace fathom::ops
