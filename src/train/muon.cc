// Legend: B matrices of one shape, N rows, M columns.
#include "train/muon.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"

namespace fathom {
namespace {

constexpr double kA = 3.4445, kB = -4.7750, kC = 2.0315;
constexpr int kSteps = 5;
constexpr double kScale = 0.2;
constexpr int64_t kMostValues = int64_t{1} << 26;  // of the matrices that are stacked at once

// Rows of each matrix that a weight is cut into, in turn: {nope, v, nope, v, ...} of kv_b_proj.
std::vector<int64_t> RowsOf(const WeightSpec& spec, const ModelConfig& config) {
  const auto repeat = [](int64_t times, const std::vector<int64_t>& parts) {
    std::vector<int64_t> rows;
    for (int64_t i = 0; i < times; ++i) rows.insert(rows.end(), parts.begin(), parts.end());
    return rows;
  };
  const int64_t q_head = config.has_mla() ? config.qk_nope_head_dim + config.qk_rope_head_dim : config.head_dim;
  switch (spec.role) {
    case WeightRole::kQ:
    case WeightRole::kQB: return repeat(config.num_attention_heads, {q_head});
    case WeightRole::kK:
    case WeightRole::kV: return repeat(config.num_key_value_heads, {config.head_dim});
    case WeightRole::kKvB: return repeat(config.num_attention_heads, {config.qk_nope_head_dim, config.v_head_dim});
    default: return {spec.shape[0]};
  }
}

at::Tensor ViewOf(const at::Tensor& leaf, const LeafMatrix& matrix) {
  return leaf.as_strided({matrix.rows, matrix.cols}, {matrix.row_stride, 1}, leaf.storage_offset() + matrix.offset);
}

}  // namespace

std::vector<LeafMatrix> ListMatrices(Model& model) {
  std::vector<LeafMatrix> matrices;
  const auto leaves = model.TrainableLeaves();
  std::map<const void*, size_t> leaf_of_storage;
  for (size_t i = 0; i < leaves.size(); ++i) leaf_of_storage[leaves[i].second.storage().data()] = i;
  model.ForEachWeight([&](const WeightSpec& spec, WeightSlot& slot) {
    if (spec.kind != WeightKind::kLinear) return;
    const size_t leaf = leaf_of_storage.at(slot.values.storage().data());
    int64_t offset = slot.values.storage_offset() - leaves[leaf].second.storage_offset();
    for (const int64_t rows : RowsOf(spec, model.config())) {
      matrices.push_back({leaf, offset, rows, spec.shape[1], slot.values.stride(0)});
      offset += rows * slot.values.stride(0);
    }
  });
  return matrices;
}

at::Tensor Orthogonalize(const at::Tensor& x_BNM) {
  const bool is_tall = x_BNM.size(1) > x_BNM.size(2);  // the products are of the shorter side
  at::Tensor x = x_BNM.to(at::kFloat);
  if (is_tall) x = x.transpose(1, 2);
  x = x.div(at::linalg_vector_norm(x, 2, at::IntArrayRef{1, 2}, /*keepdim=*/true).add(1e-7));
  if (!x.is_cpu()) x = x.to(at::kBFloat16);
  for (int step = 0; step < kSteps; ++step) {
    const at::Tensor square = at::bmm(x, x.transpose(1, 2));
    x = at::baddbmm(x, at::baddbmm(square, square, square, kB, kC), x, kA, 1);
  }
  if (is_tall) x = x.transpose(1, 2);
  return x.to(at::kFloat);
}

void MuonStep(std::vector<MuonLeaf>& leaves, const at::Tensor& norm, const MuonOptions& options) {
  const at::NoGradGuard no_grad;
  const at::Tensor finite = at::isfinite(norm);
  at::Tensor scale = at::ones_like(norm);
  if (options.max_norm > 0) scale = at::clamp(norm.add(1e-6).reciprocal().mul(options.max_norm), std::nullopt, 1.0);
  std::vector<at::Tensor> updates;  // a leaf each, float32
  std::map<std::pair<int64_t, int64_t>, std::vector<std::pair<size_t, size_t>>> of_shape;  // (rows, cols) to (leaf, matrix)
  for (size_t i = 0; i < leaves.size(); ++i) {
    MuonLeaf& leaf = leaves[i];
    const at::Tensor gradient = leaf.gradient.to(at::kFloat).mul(scale), momentum = leaf.momentum.to(at::kFloat);
    const at::Tensor next = momentum.mul(options.momentum).add(gradient);
    updates.push_back(gradient.add(next, options.momentum));
    leaf.momentum.copy_(at::where(finite, next, momentum));
    for (size_t j = 0; j < leaf.matrices.size(); ++j) of_shape[{leaf.matrices[j].rows, leaf.matrices[j].cols}].emplace_back(i, j);
  }
  for (const auto& [shape, all] : of_shape) {
    const auto most = static_cast<size_t>(std::max<int64_t>(1, kMostValues / (shape.first * shape.second)));
    for (size_t begin = 0; begin < all.size(); begin += most) {
      std::vector<at::Tensor> views;
      for (size_t k = begin; k < std::min(all.size(), begin + most); ++k) views.push_back(ViewOf(updates[all[k].first], leaves[all[k].first].matrices[all[k].second]));
      const at::Tensor x_BNM = Orthogonalize(at::stack(views)).mul(kScale * std::sqrt(static_cast<double>(std::max(shape.first, shape.second))));
      for (size_t k = 0; k < views.size(); ++k) views[k].copy_(x_BNM.select(0, static_cast<int64_t>(k)));
    }
  }
  for (size_t i = 0; i < leaves.size(); ++i) {
    MuonLeaf& leaf = leaves[i];
    at::Tensor target = leaf.master.defined() ? leaf.master : leaf.weight;
    const at::Tensor before = target.to(at::kFloat);
    target.copy_(at::where(finite, before.mul(1 - options.lr * options.weight_decay).sub(updates[i], options.lr), before));
    if (leaf.master.defined()) leaf.weight.copy_(leaf.master);
  }
}

}  // namespace fathom
