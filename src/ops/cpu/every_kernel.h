// Every kernel at the instruction set that the including level_*.cc is compiled for, and the table of them.
#pragma once

#include "ops/attention/attend_backward_kernel.h"
#include "ops/attention/attend_kernel.h"
#include "ops/cpu/kernel_table.h"
#include "ops/cpu/simd.h"
#include "ops/ggml_linear/ggml_linear_kernel.h"
#include "ops/linear/linear_rows_kernel.h"
#include "ops/norm/norm_kernel.h"
#include "ops/rope/rope_kernel.h"
#include "ops/swiglu/swiglu_kernel.h"

namespace fathom::ops {
namespace {

constexpr KernelTable MakeTable() {
  return {
      .linear_rows_f32 = {LinearRowsKernel<float, float>, LinearRowsKernel<Bf16, float>, LinearRowsKernel<F16, float>},
      .linear_rows_rounded = {LinearRowsKernel<float, float>, LinearRowsKernel<Bf16, Bf16>, LinearRowsKernel<F16, F16>},
#if defined(__AVX512BF16__)
      .linear_rows_bf16 = LinearRowsBf16Kernel,
#else
      .linear_rows_bf16 = nullptr,
#endif
      .ggml_rows_f32 = {GgmlRowsKernel<kGgmlQ4_0, float>, GgmlRowsKernel<kGgmlQ4_1, float>, GgmlRowsKernel<kGgmlQ8_0, float>},
      .ggml_rows_rounded = {GgmlRowsKernel<kGgmlQ4_0, Bf16>, GgmlRowsKernel<kGgmlQ4_1, Bf16>, GgmlRowsKernel<kGgmlQ8_0, Bf16>},
#if defined(__AVX512BF16__)
      .ggml_rows_bf16 = {GgmlRowsBf16Kernel<kGgmlQ4_0>, GgmlRowsBf16Kernel<kGgmlQ4_1>, GgmlRowsBf16Kernel<kGgmlQ8_0>},
      .ggml_block_sums = GgmlBlockSums,
#else
      .ggml_rows_bf16 = {nullptr, nullptr, nullptr},
      .ggml_block_sums = nullptr,
#endif
      .ggml_expand = {GgmlExpandKernel<kGgmlQ4_0>, GgmlExpandKernel<kGgmlQ4_1>, GgmlExpandKernel<kGgmlQ8_0>},
      .rms_norm = {NormKernel<float>, NormKernel<Bf16>, NormKernel<F16>},
      .rope = {RopeKernel<float>, RopeKernel<Bf16>, RopeKernel<F16>},
      .swiglu = {SwigluKernel<float>, SwigluKernel<Bf16>, SwigluKernel<F16>},
      .attend = {AttendKernel<float>, AttendKernel<Bf16>, AttendKernel<F16>},
      .finish = {FinishKernel<float>, FinishKernel<Bf16>, FinishKernel<F16>},
      .attend_backward = {AttendBackwardKernel<float>, AttendBackwardKernel<Bf16>, AttendBackwardKernel<F16>},
      .dot_in_order = {DotInOrder<float>, DotInOrder<Bf16>, DotInOrder<F16>},
  };
}

}  // namespace
}  // namespace fathom::ops
