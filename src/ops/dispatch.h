// Typed handles of registered operators: looked up once, called through the dispatcher, so that a kernel of any device can answer.
#pragma once

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>

#include <cstddef>
#include <optional>
#include <tuple>
#include <utility>

#include "base/error.h"

namespace fathom::ops {

// A string literal as a template argument.
template <std::size_t N>
struct OpName {
  constexpr OpName(const char (&text)[N]) {  // NOLINT: implicit on purpose, so that Op<"fathom::name", ...> reads well
    for (std::size_t i = 0; i < N; ++i) value[i] = text[i];
  }
  char value[N] = {};
};

template <OpName kName, typename Signature>
struct Op;

// One registered operator. Call goes through autograd and the device; CallBelowAutograd skips autograd.
template <OpName kName, typename Result, typename... Args>
struct Op<kName, Result(Args...)> {
  static Result Call(Args... args) { return Handle().call(std::forward<Args>(args)...); }

  static Result CallBelowAutograd(Args... args) {
    at::AutoDispatchBelowADInplaceOrView below;
    return Handle().call(std::forward<Args>(args)...);
  }

  // True when a call with these arguments must be recorded for a backward.
  static bool NeedsGrad(const Args&... args) { return at::GradMode::is_enabled() && (RequiresGrad(args) || ...); }

  // The Autograd kernel of an operator without a backward: it throws rather than cut the graph in silence.
  static Result NotDifferentiable(Args... args) {
    FATHOM_CHECK(!NeedsGrad(args...), "{} is not differentiable, but an input requires a gradient", kName.value);
    return CallBelowAutograd(std::forward<Args>(args)...);
  }

 private:
  static const c10::TypedOperatorHandle<Result(Args...)>& Handle() {
    static const auto handle = c10::Dispatcher::singleton().findSchemaOrThrow(kName.value, "").template typed<Result(Args...)>();
    return handle;
  }
  static bool RequiresGrad(const at::Tensor& tensor) { return tensor.requires_grad(); }
  static bool RequiresGrad(const std::optional<at::Tensor>& tensor) { return tensor && tensor->requires_grad(); }
  template <typename T>
  static bool RequiresGrad(const T&) { return false; }
};

}  // namespace fathom::ops
