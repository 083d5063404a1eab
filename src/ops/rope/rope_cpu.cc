#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>

#include "ops/cpu/dtype.h"
#include "ops/cpu/kernel_table.h"
#include "ops/cpu/parallel_rows.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

constexpr int64_t kRopeGrainValues = 16384;

template <bool kBackward>
Tensor RopeCpu(const Tensor& x, const Tensor& cos, const Tensor& sin, bool interleaved) {
  const int64_t T = x.size(0), H = x.size(1), D = x.size(2);
  Tensor y = at::empty({T, H, D}, x.options());
  const Tensor input = x.stride(2) == 1 || D <= 1 ? x : x.contiguous();
  const RopeArgs args{.x = input.const_data_ptr(), .cos = cos.const_data_ptr<float>(), .sin = sin.const_data_ptr<float>(),
                      .y = y.mutable_data_ptr(), .H = H, .half = D / 2, .t_stride = input.stride(0), .h_stride = input.stride(1),
                      .interleaved = interleaved, .backward = kBackward};
  const auto kernel = Kernels().rope[KernelDtypeOf(x.scalar_type())];
  ParallelRows(T, std::max<int64_t>(1, kRopeGrainValues / std::max<int64_t>(1, H * D)), [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
  return y;
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CPU, m) {
  m.impl("rope", TORCH_FN(RopeCpu<false>));
  m.impl("rope_backward", TORCH_FN(RopeCpu<true>));
}

}  // namespace fathom::ops
