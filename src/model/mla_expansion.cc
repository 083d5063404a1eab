#include "model/mla_expansion.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>

#include <algorithm>

namespace fathom {

ExpandedKeys Expand(const MlaInputs& inputs, const at::Tensor& latent_SR, const at::Tensor& k_rope_SD) {
  const int64_t S = latent_SR.size(0), H = inputs.q_nope_THD.size(1), nope = inputs.q_nope_THD.size(2), rope = k_rope_SD.size(1);
  const at::Tensor kv = (*inputs.kv_b)(latent_SR).view({S, H, -1});
  ExpandedKeys keys;
  keys.q_THD = at::cat({inputs.q_nope_THD, inputs.q_rope_THD}, 2);
  keys.k_SHD = at::cat({kv.narrow(2, 0, nope), k_rope_SD.unsqueeze(1).expand({S, H, rope})}, 2);
  keys.v_SHD = kv.narrow(2, nope, kv.size(2) - nope);
  return keys;
}

at::Tensor StackChoices(const std::vector<at::Tensor>& choices) {
  int64_t width = 0;
  for (const at::Tensor& choice : choices) width = std::max(width, choice.size(1));
  std::vector<at::Tensor> padded;
  for (const at::Tensor& choice : choices) padded.push_back(at::constant_pad_nd(choice, {0, width - choice.size(1)}, -1));
  return padded.size() == 1 ? padded.front() : at::cat(padded, 0);
}

}  // namespace fathom
