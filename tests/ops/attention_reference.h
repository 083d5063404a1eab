// Attention as its formula says, in float64, one sequence at a time: softmax over a mask that is written out.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <limits>
#include <optional>
#include <vector>

namespace fathom::ops {

// q [n_q, H, Dk], k [n_k, G, Dk], v [n_k, G, Dv], topk [n_q, S] or none -> [n_q, H, Dv] in float64.
inline at::Tensor AttendReference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale, int64_t window,
                                  const std::optional<at::Tensor>& topk) {
  const int64_t n_q = q.size(0), n_k = k.size(0), H = q.size(1), G = k.size(1);
  const auto indices = at::TensorOptions().dtype(at::kLong).device(q.device());
  const at::Tensor last = at::arange(n_q, indices).add(n_k - n_q).unsqueeze(1), key = at::arange(n_k, indices).unsqueeze(0);
  at::Tensor open = key.le(last);
  if (window >= 0) open = open.logical_and(key.gt(last.sub(window)));
  if (topk) {
    at::Tensor listed = at::zeros({n_q, n_k + 1}, indices);
    listed.scatter_(1, at::where(topk->lt(0), at::full({}, n_k, indices), topk->to(at::kLong)), 1);
    open = open.logical_and(listed.narrow(1, 0, n_k).gt(0));
  }
  std::vector<at::Tensor> heads;
  for (int64_t h = 0; h < H; ++h) {
    const int64_t g = h / (H / G);
    const at::Tensor s = at::matmul(q.select(1, h).to(at::kDouble), k.select(1, g).to(at::kDouble).t()).mul(scale);
    const at::Tensor masked = s.masked_fill(open.logical_not(), -std::numeric_limits<double>::infinity());
    const at::Tensor p = masked.softmax(1).masked_fill(open.logical_not(), 0.0);  // a row without a key gives 0
    heads.push_back(at::matmul(p, v.select(1, g).to(at::kDouble)).unsqueeze(1));
  }
  return at::cat(heads, 1);
}

struct Lengths {
  int64_t n_q, n_k;
};

inline at::Tensor PackedReference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const std::vector<Lengths>& lengths, double scale,
                                  int64_t window, const std::optional<at::Tensor>& topk) {
  std::vector<at::Tensor> outputs;
  int64_t q0 = 0, k0 = 0;
  for (const auto [n_q, n_k] : lengths) {
    outputs.push_back(AttendReference(q.narrow(0, q0, n_q), k.narrow(0, k0, n_k), v.narrow(0, k0, n_k), scale, window,
                                      topk ? std::optional(topk->narrow(0, q0, n_q)) : std::nullopt));
    q0 += n_q;
    k0 += n_k;
  }
  return at::cat(outputs, 0);
}

}  // namespace fathom::ops
