#include <ATen/Context.h>
#include <ATen/core/Generator.h>
#include <ATen/core/grad_mode.h>
#include <ATen/core/ivalue.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <memory>
#include <mutex>
#include <utility>

#include "base/error.h"
#include "model/linear/weight_grad_queue.h"
#include "model/recompute.h"

namespace fathom {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The states of the default generators that a function may draw from.
class RandomState {
 public:
  explicit RandomState(at::Device device) {
    generators_.push_back(at::globalContext().defaultGenerator(at::kCPU));
    if (!device.is_cpu()) generators_.push_back(at::globalContext().defaultGenerator(device));
    for (at::Generator& generator : generators_) {
      const std::lock_guard lock(generator.mutex());
      states_.push_back(generator.get_state());
    }
  }
  void Restore() {
    for (size_t i = 0; i < generators_.size(); ++i) {
      const std::lock_guard lock(generators_[i].mutex());
      generators_[i].set_state(states_[i]);
    }
  }

 private:
  std::vector<at::Generator> generators_;
  std::vector<at::Tensor> states_;
};

struct Again : torch::CustomClassHolder {
  Again(TensorFunction run_in, at::Device device) : run(std::move(run_in)), random(device), queue(WeightGradScope::Current()) {}
  TensorFunction run;
  RandomState random;
  std::shared_ptr<WeightGradQueue> queue;
};

struct RecomputeFunction : torch::autograd::Function<RecomputeFunction> {
  static variable_list forward(AutogradContext* ctx, at::TensorList inputs, const c10::intrusive_ptr<Again>& again) {
    ctx->saved_data["again"] = c10::IValue::make_capsule(again);
    ctx->save_for_backward(inputs.vec());
    c10::List<bool> flags;
    for (const at::Tensor& input : inputs) flags.push_back(input.requires_grad());
    ctx->saved_data["needs_grad"] = flags;
    const at::NoGradGuard no_grad;
    return again->run(inputs.vec());
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto& again = static_cast<Again&>(*ctx->saved_data["again"].toCapsule());
    const c10::List<bool> flags = ctx->saved_data["needs_grad"].toBoolList();
    variable_list inputs;
    for (const at::Tensor& saved : ctx->get_saved_variables()) {
      inputs.push_back(saved.detach());
      inputs.back().set_requires_grad(flags[inputs.size() - 1]);
    }
    variable_list outputs, upstream;
    {
      RandomState now(inputs.front().device());
      again.random.Restore();
      const at::AutoGradMode with_grad(true);
      const WeightGradScope scope(again.queue);
      const variable_list made = again.run(inputs);
      now.Restore();
      FATHOM_CHECK(made.size() == grads.size(), "a function run again gave {} tensors, {} the first time", made.size(), grads.size());
      for (size_t i = 0; i < made.size(); ++i) {
        if (!grads[i].defined() || !made[i].requires_grad()) continue;
        outputs.push_back(made[i]);
        upstream.push_back(grads[i]);
      }
    }
    if (!outputs.empty()) torch::autograd::backward(outputs, upstream);
    variable_list gradients;
    for (const at::Tensor& input : inputs) gradients.push_back(input.grad());
    gradients.emplace_back();  // of `again`
    return gradients;
  }
};

}  // namespace

std::vector<at::Tensor> Recompute(const TensorFunction& run, const std::vector<at::Tensor>& inputs) {
  FATHOM_CHECK(!inputs.empty(), "a function to run again needs inputs");
  bool needs_grad = false;
  for (const at::Tensor& input : inputs) needs_grad = needs_grad || input.requires_grad();
  if (!at::GradMode::is_enabled() || !needs_grad) return run(inputs);
  return RecomputeFunction::apply(at::TensorList(inputs), c10::make_intrusive<Again>(run, inputs.front().device()));
}

}  // namespace fathom
