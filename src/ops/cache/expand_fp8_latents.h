// ExpandFp8Latents by LibTorch's own operators, on any device: for the libraries that do not link each other.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>

#include <utility>
#include <vector>

#include "ops/cache/fp8_latents.h"

namespace fathom::ops {

inline at::Tensor ExpandFp8Rows(const at::Tensor& rows, int64_t R, at::ScalarType dtype) {
  std::vector<int64_t> grouped = rows.sizes().vec();
  grouped.back() = R / kFp8LatentGroup;
  grouped.push_back(kFp8LatentGroup);
  std::vector<int64_t> flat = rows.sizes().vec();
  flat.back() = R;
  const int64_t scales = R / kFp8LatentGroup * 4;
  const at::Tensor codes = rows.narrow(-1, 0, R).contiguous().view(at::kFloat8_e4m3fn).to(at::kFloat).view(grouped);
  const at::Tensor scale = rows.narrow(-1, R, scales).contiguous().view(at::kFloat).unsqueeze(-1);
  const at::Tensor k_rope = rows.narrow(-1, R + scales, rows.size(-1) - R - scales).contiguous().view(at::kBFloat16);
  return at::cat({codes.mul(scale).view(flat).to(dtype), k_rope.to(dtype)}, -1);
}

// The pages that a table names, expanded, and a table for them. Entries that name no page (anything) name one that is there.
inline std::pair<at::Tensor, at::Tensor> ExpandFp8Pages(const at::Tensor& pages, const at::Tensor& page_table, int64_t R, at::ScalarType dtype) {
  const at::Tensor named = pages.index_select(0, page_table.flatten().clamp(0, pages.size(0) - 1));
  return {ExpandFp8Rows(named, R, dtype), at::arange(page_table.numel(), page_table.options()).view(page_table.sizes())};
}

}  // namespace fathom::ops
