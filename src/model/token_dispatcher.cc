#include "model/token_dispatcher.h"

#include "ops/experts/experts.h"

namespace fathom {
namespace {

class Local final : public TokenDispatcher {
 public:
  at::Tensor Run(const at::Tensor& x_TD, const at::Tensor& topk_idx_TK, const at::Tensor& weights_TK, int64_t num_experts,
                 const ExpertFunction& experts) const override {
    const auto [order, offsets] = ops::sort_by_expert(topk_idx_TK, num_experts);
    const at::Tensor y_MD = experts(ops::gather_tokens(x_TD, order, topk_idx_TK.size(1)), offsets);
    return ops::combine_tokens(y_MD, order, weights_TK);
  }
};

}  // namespace

const TokenDispatcher& LocalDispatcher() {
  static const Local local;
  return local;
}

}  // namespace fathom
