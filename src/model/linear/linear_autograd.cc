// The autograd functions of Linear and GroupedLinear.
#include <ATen/core/grad_mode.h>
#include <ATen/core/ivalue.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/sum.h>
#include <torch/csrc/autograd/custom_function.h>

#include <functional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "model/linear/grouped_linear.h"
#include "model/linear/linear.h"
#include "model/linear/weight_grad_queue.h"
#include "ops/experts/experts.h"

namespace fathom {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// What a backward needs besides activations: the handle of the weight, where its gradient goes, and how to have x again where it was not kept.
template <typename Weight>
struct Handle : torch::CustomClassHolder {
  Handle(std::shared_ptr<Weight> weight_in, std::shared_ptr<WeightGradQueue> queue_in, const Remake* again)
      : weight(std::move(weight_in)), queue(std::move(queue_in)) {
    if (again != nullptr) make = again->make;
  }
  std::shared_ptr<Weight> weight;
  std::shared_ptr<WeightGradQueue> queue;
  std::function<at::Tensor(const std::vector<at::Tensor>&)> make;  // null: x was kept
};

// Saves the handle, and `kept` (of x, or what makes x again) with `others` behind it.
template <typename Weight>
void Save(AutogradContext* context, const std::shared_ptr<Weight>& weight, const Remake* again, KeptOperand kept, const variable_list& others) {
  context->saved_data["handle"] = c10::IValue::make_capsule(c10::make_intrusive<Handle<Weight>>(weight, WeightGradScope::Current(), again));
  kept.insert(kept.end(), others.begin(), others.end());
  context->save_for_backward(std::move(kept));
}

// x as the forward saw it, from the `inputs` that make it again.
template <typename Weight>
at::Tensor MadeAgain(const Handle<Weight>& handle, const variable_list& inputs) {
  const at::NoGradGuard no_grad;
  variable_list detached;
  for (const at::Tensor& input : inputs) detached.push_back(input.detach());
  return handle.make(detached);
}

template <typename Weight>
const Handle<Weight>& Unpack(AutogradContext* context) {
  return static_cast<const Handle<Weight>&>(*context->saved_data["handle"].toCapsule());
}

void Accumulate(at::Tensor leaf, const at::Tensor& gradient) {
  const at::NoGradGuard no_grad;
  if (leaf.grad().defined()) leaf.mutable_grad().add_(gradient);
  else leaf.mutable_grad() = gradient;
}

void SaveFlags(AutogradContext* context, const at::Tensor& x, const std::optional<at::Tensor>& leaf, const std::optional<at::Tensor>& bias) {
  context->saved_data["x_needs_grad"] = x.requires_grad();
  context->saved_data["leaf_needs_grad"] = leaf && leaf->requires_grad();
  context->saved_data["bias_needs_grad"] = bias && bias->requires_grad();
}

// The gradient of the leaf now, or undefined and a queued computation.
template <typename Weight, typename Compute>
at::Tensor NowOrLater(const Handle<Weight>& handle, bool is_needed, Compute compute) {
  if (!is_needed) return {};
  if (handle.queue == nullptr) return compute();
  handle.queue->Push([leaf = handle.weight->trainable(), compute = std::move(compute)] {
    const at::NoGradGuard no_grad;
    Accumulate(leaf, compute());
  });
  return {};
}

struct LinearFunction : torch::autograd::Function<LinearFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x_MK, const std::optional<at::Tensor>& leaf, const std::optional<at::Tensor>& bias_N,
                            const std::shared_ptr<LinearWeight>& weight, const Remake* again) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    SaveFlags(context, x_MK, leaf, bias_N);
    const bool for_weight = context->saved_data["leaf_needs_grad"].toBool();
    KeptOperand kept;
    if (for_weight && again != nullptr) kept = again->inputs;
    const at::Tensor y_MN = for_weight && again == nullptr ? weight->ForwardKeeping(x_MK, bias_N, kept) : weight->Forward(x_MK, bias_N);
    Save(context, weight, again, std::move(kept), {});
    return y_MN;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const Handle<LinearWeight>& handle = Unpack<LinearWeight>(context);
    const at::Tensor dy_MN = grads[0].contiguous();
    const bool for_input = context->saved_data["x_needs_grad"].toBool(), for_weight = context->saved_data["leaf_needs_grad"].toBool();
    const KeptOperand dy = handle.weight->KeepGradient(dy_MN, for_input, for_weight);
    KeptOperand x = context->get_saved_variables();
    if (for_weight && handle.make) x = handle.weight->KeepInput(MadeAgain(handle, x));
    at::Tensor dx, dw, db;
    if (for_input) dx = handle.weight->KeptInputGradient(dy);
    dw = NowOrLater(handle, for_weight, [weight = handle.weight, dy, x] { return weight->KeptWeightGradient(dy, x); });
    if (context->saved_data["bias_needs_grad"].toBool()) db = dy_MN.sum(0);
    return {dx, dw, db, {}, {}};
  }
};

struct GroupedLinearFunction : torch::autograd::Function<GroupedLinearFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x_MK, const std::optional<at::Tensor>& leaf, const at::Tensor& offsets,
                            const std::shared_ptr<GroupedWeight>& weight, const Remake* again) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    SaveFlags(context, x_MK, leaf, std::nullopt);
    const bool for_weight = context->saved_data["leaf_needs_grad"].toBool();
    KeptOperand kept;
    if (for_weight && again != nullptr) kept = again->inputs;
    const at::Tensor y_MN = for_weight && again == nullptr ? weight->ForwardKeeping(x_MK, offsets, kept) : weight->Forward(x_MK, offsets);
    Save(context, weight, again, std::move(kept), {offsets});
    return y_MN;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const Handle<GroupedWeight>& handle = Unpack<GroupedWeight>(context);
    const at::Tensor dy_MN = grads[0].contiguous();
    const bool for_input = context->saved_data["x_needs_grad"].toBool(), for_weight = context->saved_data["leaf_needs_grad"].toBool();
    KeptOperand x = context->get_saved_variables();
    const at::Tensor offsets = x.back();
    x.pop_back();
    const KeptOperand dy = handle.weight->KeepGradient(dy_MN, offsets, for_input, for_weight);
    if (for_weight && handle.make) x = handle.weight->KeepInput(MadeAgain(handle, x), offsets);
    at::Tensor dx, dw;
    if (for_input) dx = handle.weight->KeptInputGradient(dy, offsets);
    dw = NowOrLater(handle, for_weight, [weight = handle.weight, dy, x, offsets] { return weight->KeptWeightGradient(dy, x, offsets); });
    return {dx, dw, {}, {}, {}};
  }
};

bool NeedsGrad(const std::optional<at::Tensor>& tensor) { return tensor && tensor->requires_grad(); }

template <typename Weight>
std::optional<at::Tensor> LeafOf(const Weight& weight) {
  const at::Tensor leaf = weight.trainable();
  return leaf.defined() ? std::optional<at::Tensor>(leaf) : std::nullopt;
}

at::Tensor Product(const at::Tensor& x_MK, const std::shared_ptr<LinearWeight>& weight, const std::optional<at::Tensor>& bias, const Remake* again) {
  const std::optional<at::Tensor> leaf = at::GradMode::is_enabled() ? LeafOf(*weight) : std::nullopt;
  const bool has_backward = at::GradMode::is_enabled() && (x_MK.requires_grad() || NeedsGrad(leaf) || NeedsGrad(bias));
  return has_backward ? LinearFunction::apply(x_MK, leaf, bias, weight, again) : weight->Forward(x_MK, bias);
}

at::Tensor Product(const at::Tensor& x_MK, const at::Tensor& offsets, const std::shared_ptr<GroupedWeight>& weight, const Remake* again) {
  const std::optional<at::Tensor> leaf = at::GradMode::is_enabled() ? LeafOf(*weight) : std::nullopt;
  const bool has_backward = at::GradMode::is_enabled() && (x_MK.requires_grad() || NeedsGrad(leaf));
  return has_backward ? GroupedLinearFunction::apply(x_MK, leaf, offsets, weight, again) : weight->Forward(x_MK, offsets);
}

}  // namespace

at::Tensor LinearWeight::WeightGradient(const at::Tensor& dy_MN, const at::Tensor& x_MK) const {
  return at::matmul(dy_MN.t(), x_MK).to(trainable().scalar_type());
}

at::Tensor LinearWeight::ForwardKeeping(const at::Tensor& x_MK, const std::optional<at::Tensor>& bias_N, KeptOperand& x_kept) const {
  x_kept = KeepInput(x_MK);
  return Forward(x_MK, bias_N);
}
KeptOperand LinearWeight::KeepGradient(const at::Tensor& dy_MN, bool, bool) const { return {dy_MN}; }
at::Tensor LinearWeight::KeptInputGradient(const KeptOperand& dy) const { return InputGradient(dy.front()); }
at::Tensor LinearWeight::KeptWeightGradient(const KeptOperand& dy, const KeptOperand& x) const { return WeightGradient(dy.front(), x.front()); }

at::Tensor GroupedWeight::ForwardKeeping(const at::Tensor& x_MK, const at::Tensor& offsets, KeptOperand& x_kept) const {
  x_kept = KeepInput(x_MK, offsets);
  return Forward(x_MK, offsets);
}
KeptOperand GroupedWeight::KeepInput(const at::Tensor& x_MK, const at::Tensor&) const { return {x_MK}; }
KeptOperand GroupedWeight::KeepGradient(const at::Tensor& dy_MN, const at::Tensor&, bool, bool) const { return {dy_MN}; }
at::Tensor GroupedWeight::KeptInputGradient(const KeptOperand& dy, const at::Tensor& offsets) const { return InputGradient(dy.front(), offsets); }
at::Tensor GroupedWeight::KeptWeightGradient(const KeptOperand& dy, const KeptOperand& x, const at::Tensor& offsets) const {
  return ops::grouped_linear_wgrad(dy.front(), x.front(), offsets);
}

at::Tensor LinearWeight::ForwardHeads(const at::Tensor& x_MHK, int64_t stride, int64_t r0, int64_t r1) const {
  std::vector<at::Tensor> heads;
  for (int64_t h = 0; h < x_MHK.size(1); ++h) heads.push_back(ForwardRows(x_MHK.select(1, h), h * stride + r0, h * stride + r1));
  return at::stack(heads, 1);
}

at::Tensor LinearWeight::TransposedHeads(const at::Tensor& y_MHR, int64_t stride, int64_t r0, int64_t r1) const {
  std::vector<at::Tensor> heads;
  for (int64_t h = 0; h < y_MHR.size(1); ++h) heads.push_back(TransposedRows(y_MHR.select(1, h), h * stride + r0, h * stride + r1));
  return at::stack(heads, 1);
}

Linear::Linear(std::shared_ptr<LinearWeight> weight, std::optional<at::Tensor> bias) : weight_(std::move(weight)), bias_(std::move(bias)) {}

at::Tensor Linear::operator()(const at::Tensor& x) const {
  const bool is_matrix = x.dim() == 2;
  const at::Tensor x_MK = is_matrix ? x : x.reshape({-1, weight_->in_features()});
  const at::Tensor y_MN = Product(x_MK, weight_, bias_, nullptr);
  if (is_matrix) return y_MN;
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = weight_->out_features();
  return y_MN.view(shape);
}

at::Tensor Linear::operator()(const Remade& x_MK) const { return Product(x_MK.value, weight_, bias_, &x_MK.again); }

at::Tensor Linear::ApplyRows(const at::Tensor& x_MK, int64_t r0, int64_t r1) const { return weight_->ForwardRows(x_MK, r0, r1); }
at::Tensor Linear::ApplyRowsTransposed(const at::Tensor& y_MR, int64_t r0, int64_t r1) const { return weight_->TransposedRows(y_MR, r0, r1); }

at::Tensor Linear::ApplyHeads(const at::Tensor& x_MHK, int64_t stride, int64_t r0, int64_t r1) const {
  return weight_->ForwardHeads(x_MHK, stride, r0, r1);
}
at::Tensor Linear::ApplyHeadsTransposed(const at::Tensor& y_MHR, int64_t stride, int64_t r0, int64_t r1) const {
  return weight_->TransposedHeads(y_MHR, stride, r0, r1);
}

GroupedLinear::GroupedLinear(std::shared_ptr<GroupedWeight> weight) : weight_(std::move(weight)) {}

at::Tensor GroupedLinear::operator()(const at::Tensor& x_MK, const at::Tensor& offsets) const { return Product(x_MK, offsets, weight_, nullptr); }
at::Tensor GroupedLinear::operator()(const Remade& x_MK, const at::Tensor& offsets) const { return Product(x_MK.value, offsets, weight_, &x_MK.again); }

}  // namespace fathom
