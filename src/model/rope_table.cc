#include "model/rope_table.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/bucketize.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/sin.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace fathom {
namespace {

double Mscale(double factor, double mscale) { return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0; }

// The frequency's index at which a rotation count over the original context is `rotations`.
double CorrectionIndex(double rotations, double width, double theta, double original) {
  return width * std::log(original / (rotations * 2 * std::numbers::pi)) / (2 * std::log(theta));
}

void ScaleYarn(const RopeScaling& scaling, double theta, int64_t width, std::vector<float>& inv_freq) {
  const double original = static_cast<double>(scaling.original_max_position_embeddings);
  double low = CorrectionIndex(scaling.beta_fast, static_cast<double>(width), theta, original);
  double high = CorrectionIndex(scaling.beta_slow, static_cast<double>(width), theta, original);
  if (scaling.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(width - 1));
  if (low == high) high += 0.001;
  for (size_t i = 0; i < inv_freq.size(); ++i) {
    const float ramp = static_cast<float>(std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0));
    inv_freq[i] = inv_freq[i] / static_cast<float>(scaling.factor) * ramp + inv_freq[i] * (1 - ramp);
  }
}

void ScaleLlama3(const RopeScaling& scaling, std::vector<float>& inv_freq) {
  const double original = static_cast<double>(scaling.original_max_position_embeddings);
  for (float& frequency : inv_freq) {
    const double wavelength = 2 * std::numbers::pi / frequency;
    if (wavelength < original / scaling.high_freq_factor) continue;
    if (wavelength > original / scaling.low_freq_factor) {
      frequency = static_cast<float>(frequency / scaling.factor);
      continue;
    }
    const double smooth = (original / wavelength - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
    frequency = static_cast<float>((1 - smooth) * frequency / scaling.factor + smooth * frequency);
  }
}

}  // namespace

RopeTable::RopeTable(const ModelConfig& config, at::Device device)
    : scaling_(config.rope_scaling),
      theta_(config.rope_theta),
      width_(config.has_mla() ? config.qk_rope_head_dim : config.head_dim),
      max_position_(config.max_position_embeddings) {
  std::vector<float> inv_freq;
  for (int64_t i = 0; i < width_; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(width_);
    inv_freq.push_back(1.0f / static_cast<float>(std::pow(theta_, static_cast<double>(exponent))));
  }
  if (scaling_.kind == RopeKind::kLinear) {
    for (float& frequency : inv_freq) frequency /= static_cast<float>(scaling_.factor);
  } else if (scaling_.kind == RopeKind::kYarn) {
    ScaleYarn(scaling_, theta_, width_, inv_freq);
    const double mscale = scaling_.mscale.value_or(0), all_dim = scaling_.mscale_all_dim.value_or(0);
    const double own = mscale != 0 && all_dim != 0 ? Mscale(scaling_.factor, mscale) / Mscale(scaling_.factor, all_dim) : Mscale(scaling_.factor, 1);
    factor_ = scaling_.attention_factor.value_or(own);
  } else if (scaling_.kind == RopeKind::kLlama3) {
    ScaleLlama3(scaling_, inv_freq);
  }
  at::Tensor host = at::empty({static_cast<int64_t>(inv_freq.size())}, at::kFloat);
  std::copy(inv_freq.begin(), inv_freq.end(), host.mutable_data_ptr<float>());
  inv_freq_ = host.to(device);
}

// A sequence's length is its last position in the batch plus one, so a step of decoding uses the length that it has reached.
at::Tensor RopeTable::DynamicInvFreq(const PackedBatch& batch) const {
  const at::Tensor ends = batch.cu_seqlens.narrow(0, 1, batch.cu_seqlens.size(0) - 1);
  const at::Tensor token_idx = at::arange(batch.positions_T.size(0), ends.options());
  const at::Tensor last_T = ends.index_select(0, at::bucketize(token_idx, ends, false, true)).sub(1);
  const at::Tensor length_T = batch.positions_T.index_select(0, last_T).add(1).clamp_min(max_position_).to(at::kFloat);
  const double max_position = static_cast<double>(max_position_), width = static_cast<double>(width_);
  const at::Tensor growth_T = length_T.mul(scaling_.factor).div(max_position).sub(scaling_.factor - 1);
  const at::Tensor theta_T = growth_T.pow(width / (width - 2)).mul(theta_);
  const at::Tensor exponent_D = at::arange(0, width_, 2, inv_freq_.options()).div(width);
  return at::pow(theta_T.unsqueeze(1), exponent_D.unsqueeze(0)).reciprocal();
}

std::pair<at::Tensor, at::Tensor> RopeTable::At(const PackedBatch& batch) const {
  const at::Tensor position_T1 = batch.positions_T.to(at::kFloat).unsqueeze(1);
  const at::Tensor angle_TD = position_T1.mul(scaling_.kind == RopeKind::kDynamic ? DynamicInvFreq(batch) : inv_freq_.unsqueeze(0));
  at::Tensor cos_TD = angle_TD.cos(), sin_TD = angle_TD.sin();
  if (factor_ != 1.0) {
    cos_TD.mul_(factor_);
    sin_TD.mul_(factor_);
  }
  return {cos_TD, sin_TD};
}

}  // namespace fathom
