#include "ops/ggml_linear/ggml_linear.h"

#include "base/error.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

// K of the rows that the blocks hold.
int64_t CheckBlocks(const char* name, const Tensor& blocks_NB, BlockFormat format) {
  FATHOM_CHECK(BlockFormatOf(static_cast<int64_t>(format)), "{}: no kernel for ggml type {}", name, static_cast<int64_t>(format));
  FATHOM_CHECK(blocks_NB.dim() == 2 && blocks_NB.scalar_type() == at::kByte && blocks_NB.is_contiguous() && blocks_NB.is_cpu() &&
                   blocks_NB.size(1) % BlockBytes(format) == 0,
               "{}: blocks must be contiguous bytes [N, a multiple of {}] on the CPU, got {} dims of {}", name, BlockBytes(format), blocks_NB.dim(),
               c10::toString(blocks_NB.scalar_type()));
  return blocks_NB.size(1) / BlockBytes(format) * kBlockValues;
}

}  // namespace

Tensor ggml_linear_rows(const Tensor& x_MK, const Tensor& blocks_NB, BlockFormat format) {
  const int64_t K = CheckBlocks("ggml_linear_rows", blocks_NB, format);
  FATHOM_CHECK(x_MK.dim() == 2 && x_MK.size(1) == K && x_MK.is_contiguous(), "ggml_linear_rows: x must be contiguous [M, {}]", K);
  FATHOM_CHECK(x_MK.size(0) <= kMaxLinearRows, "ggml_linear_rows: at most {} rows, got {}", kMaxLinearRows, x_MK.size(0));
  FATHOM_CHECK(x_MK.scalar_type() == at::kFloat || x_MK.scalar_type() == at::kBFloat16, "ggml_linear_rows: x must be float32 or bfloat16, got {}",
               c10::toString(x_MK.scalar_type()));
  return GgmlLinearRowsOp::Call(x_MK, blocks_NB, static_cast<int64_t>(format));
}

Tensor ggml_expand(const Tensor& blocks_NB, BlockFormat format) {
  CheckBlocks("ggml_expand", blocks_NB, format);
  return GgmlExpandOp::Call(blocks_NB, static_cast<int64_t>(format));
}

}  // namespace fathom::ops
