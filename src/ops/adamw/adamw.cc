#include "ops/adamw/adamw.h"

#include <torch/library.h>

#include "ops/cpu/dtype.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

void CheckList(const char* name, at::TensorList tensors, at::TensorList weights) {
  FATHOM_CHECK(tensors.size() == weights.size(), "adamw: {} {} for {} weights", tensors.size(), name, weights.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    FATHOM_CHECK(tensors[i].is_contiguous() && tensors[i].numel() == weights[i].numel() && tensors[i].device() == weights[i].device() &&
                     tensors[i].scalar_type() == tensors[0].scalar_type(),
                 "adamw: {} must be contiguous, on the weights' device, of their sizes and of one dtype", name);
  }
}

}  // namespace

Tensor gradient_norm(const std::vector<Tensor>& gradients) {
  FATHOM_CHECK(!gradients.empty(), "gradient_norm: no gradients");
  for (const Tensor& gradient : gradients) {
    FATHOM_CHECK(gradient.is_contiguous() && IsFloatDtype(gradient.scalar_type()) && gradient.device() == gradients[0].device(),
                 "gradient_norm: gradients must be contiguous, of a float dtype and on one device");
  }
  return GradientNormOp::CallBelowAutograd(gradients);
}

void adamw(const AdamWTensors& tensors, const Tensor& norm, const AdamWOptions& options) {
  if (tensors.weights.empty()) return;
  CheckList("weights", tensors.weights, tensors.weights);
  CheckList("gradients", tensors.gradients, tensors.weights);
  CheckList("first_moments", tensors.first_moments, tensors.weights);
  CheckList("second_moments", tensors.second_moments, tensors.weights);
  if (!tensors.masters.empty()) CheckList("masters", tensors.masters, tensors.weights);
  const at::ScalarType weight = tensors.weights[0].scalar_type(), gradient = tensors.gradients[0].scalar_type();
  const at::ScalarType moment = tensors.first_moments[0].scalar_type();
  FATHOM_CHECK(IsFloatDtype(weight) && (gradient == weight || gradient == at::kFloat), "adamw: weights of {} and gradients of {}", c10::toString(weight),
               c10::toString(gradient));
  FATHOM_CHECK((moment == at::kFloat || moment == at::kBFloat16) && tensors.second_moments[0].scalar_type() == moment,
               "adamw: moments must be float32 or bfloat16, both of one dtype");
  FATHOM_CHECK(tensors.masters.empty() || tensors.masters[0].scalar_type() == at::kFloat, "adamw: masters must be float32");
  FATHOM_CHECK(norm.numel() == 1 && norm.scalar_type() == at::kFloat && norm.device() == tensors.weights[0].device(),
               "adamw: norm must be one float32 on the weights' device");
  FATHOM_CHECK(options.step >= 1, "adamw: step counts from 1, got {}", options.step);
  AdamWOp::CallBelowAutograd(tensors.weights, tensors.gradients, tensors.first_moments, tensors.second_moments, tensors.masters, norm, options.lr,
                             options.beta1, options.beta2, options.eps, options.weight_decay, options.max_norm, options.step);
  // What was made from the old values (FP8 forms of a leaf) can tell.
  for (const Tensor& tensor : tensors.weights) tensor.unsafeGetTensorImpl()->bump_version();
}

TORCH_LIBRARY_IMPL(fathom, Autograd, m) {
  m.impl("gradient_norm", TORCH_FN(GradientNormOp::NotDifferentiable));
  m.impl("adamw", TORCH_FN(AdamWOp::NotDifferentiable));
}

}  // namespace fathom::ops
