#include <ATen/ops/addmm.h>
#include <ATen/ops/add.h>
#include <ATen/ops/dot.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gt.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ne.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/div.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <utility>

#include "ops/cpu/dtype.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Result {
  Tensor loss, nll_T, dhidden_TD, dw_VD;
};

// dw += dlogits^T hidden, summed in float32 over the chunks.
void AddWeightGradient(Tensor& dw_VD, const Tensor& dlogits, const Tensor& hidden) {
  if (dlogits.is_cuda() && dlogits.scalar_type() != at::kFloat) {
    at::addmm_outf(dw_VD, dlogits.t(), hidden, at::kFloat, 1, 1, dw_VD);
  } else {
    dw_VD.addmm_(dlogits.t().to(at::kFloat), hidden.to(at::kFloat));
  }
}

// `scales_T` [T] float32: weight / denominator of each token, 0 where it is ignored.
Result Compute(const Tensor& hidden_TD, const Tensor& w_VD, const Tensor& targets_T, const Tensor& scales_T, double z_loss, int64_t chunk_rows,
               bool hidden_gradient, bool w_gradient) {
  const int64_t T = hidden_TD.size(0), V = w_VD.size(0);
  Result result;
  result.nll_T = at::empty({T}, scales_T.options());
  Tensor lse_T = at::empty({T}, scales_T.options());
  if (hidden_gradient) result.dhidden_TD = at::empty(hidden_TD.sizes(), hidden_TD.options());
  const bool one_chunk = chunk_rows >= T;
  if (w_gradient && !one_chunk) result.dw_VD = at::zeros(w_VD.sizes(), w_VD.options().dtype(at::kFloat));
  Tensor logits_CV = at::empty({std::min(chunk_rows, T), V}, hidden_TD.options());
  for (int64_t first = 0; first < T; first += chunk_rows) {
    const int64_t rows = std::min(chunk_rows, T - first);
    const Tensor hidden = hidden_TD.narrow(0, first, rows);
    Tensor logits = logits_CV.narrow(0, 0, rows);
    at::mm_out(logits, hidden, w_VD.t());
    const auto [nll, lse] = CrossEntropyRowsOp::CallBelowAutograd(logits, targets_T.narrow(0, first, rows), scales_T.narrow(0, first, rows), z_loss,
                                                                 hidden_gradient || w_gradient);
    result.nll_T.narrow(0, first, rows).copy_(nll);
    lse_T.narrow(0, first, rows).copy_(lse);
    if (hidden_gradient) {
      Tensor dhidden = result.dhidden_TD.narrow(0, first, rows);
      at::mm_out(dhidden, logits, w_VD);
    }
    if (!w_gradient) continue;
    if (one_chunk) result.dw_VD = at::mm(logits.t(), hidden);
    else AddWeightGradient(result.dw_VD, logits, hidden);
  }
  if (w_gradient) result.dw_VD = T == 0 ? at::zeros(w_VD.sizes(), w_VD.options()) : result.dw_VD.to(w_VD.scalar_type());
  result.loss = at::dot(scales_T, z_loss == 0 ? result.nll_T : result.nll_T.add(lse_T.mul(lse_T), z_loss));
  return result;
}

struct LinearCrossEntropyFunction : torch::autograd::Function<LinearCrossEntropyFunction> {
  static variable_list forward(AutogradContext* ctx, const Tensor& hidden_TD, const Tensor& w_VD, const Tensor& targets_T, const Tensor& scales_T,
                               double z_loss, int64_t chunk_rows) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    Result result = Compute(hidden_TD, w_VD, targets_T, scales_T, z_loss, chunk_rows, hidden_TD.requires_grad(), w_VD.requires_grad());
    ctx->mark_non_differentiable({result.nll_T});
    ctx->save_for_backward({result.dhidden_TD, result.dw_VD});
    return {result.loss, result.nll_T};
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    variable_list out(6);
    for (size_t i = 0; i < 2; ++i) {
      if (saved[i].defined()) out[i] = saved[i].mul(grads[0]);
    }
    return out;
  }
};

}  // namespace

CrossEntropy linear_cross_entropy(const Tensor& hidden_TD, const Tensor& w_VD, const Tensor& targets_T, const CrossEntropyOptions& options) {
  FATHOM_CHECK(hidden_TD.dim() == 2 && w_VD.dim() == 2 && hidden_TD.size(1) == w_VD.size(1) && IsFloatDtype(hidden_TD.scalar_type()) &&
                   hidden_TD.scalar_type() == w_VD.scalar_type(),
               "linear_cross_entropy: hidden must be [T, D] and w [V, D] of one float dtype");
  const int64_t T = hidden_TD.size(0), V = w_VD.size(0);
  FATHOM_CHECK(targets_T.dim() == 1 && targets_T.size(0) == T && targets_T.scalar_type() == at::kLong, "linear_cross_entropy: targets must be [{}] int64", T);
  FATHOM_CHECK(!options.weights_T || (options.weights_T->dim() == 1 && options.weights_T->size(0) == T && options.weights_T->scalar_type() == at::kFloat),
               "linear_cross_entropy: weights must be [{}] float32", T);
  Tensor scales_T;
  {
    const at::NoGradGuard no_grad;
    scales_T = targets_T.ne(kIgnoredTarget).to(at::kFloat);
    if (options.weights_T) scales_T = scales_T.mul(*options.weights_T);
    const Tensor denominator = options.denominator ? *options.denominator : scales_T.sum();
    scales_T = scales_T.div(options.denominator ? denominator : at::where(denominator.gt(0), denominator, at::ones_like(denominator)));
  }
  int64_t chunk_rows = options.chunk_rows;
  if (chunk_rows <= 0) {
    const int64_t most = std::max<int64_t>(256, kLogitBytes / (V * hidden_TD.element_size()));
    const int64_t chunks = std::max<int64_t>(1, (T + most - 1) / most);  // of about one size
    chunk_rows = (T + chunks - 1) / chunks;
  }
  chunk_rows = std::max<int64_t>(1, chunk_rows);
  const Tensor hidden = hidden_TD.contiguous(), w = w_VD.contiguous(), targets = targets_T.contiguous();
  if (at::GradMode::is_enabled() && (hidden.requires_grad() || w.requires_grad())) {
    const auto outputs = LinearCrossEntropyFunction::apply(hidden, w, targets, scales_T, options.z_loss, chunk_rows);
    return {outputs[0], outputs[1]};
  }
  const Result result = Compute(hidden, w, targets, scales_T, options.z_loss, chunk_rows, false, false);
  return {result.loss, result.nll_T};
}

}  // namespace fathom::ops
