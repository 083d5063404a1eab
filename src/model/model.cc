// Legend: T packed tokens, D hidden_size, V vocabulary.
#include "model/model.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "model/decoder.h"
#include "model/linear/dense_weight.h"
#include "model/placement.h"
#include "model/rope_table.h"
#include "model/weight_store.h"
#include "ops/norm/norm.h"

namespace fathom {

struct Model::Impl {
  Impl(const ModelConfig& config_in, const ModelOptions& options_in)
      : config(config_in), options(options_in), store(config, options), rope(config, options.device) {
    embedding_blocks = store.MakeGgml({WeightRole::kEmbedTokens}, -1);
    if (!embedding_blocks) embedding = store.Tensor({WeightRole::kEmbedTokens}, -1);
    for (int64_t i = 0; i < config.num_hidden_layers; ++i) layers.emplace_back(config, i, store);
    final_norm = store.Tensor({WeightRole::kFinalNorm}, -1);
    if (!config.tie_word_embeddings) head = store.MakeLinear({WeightRole::kLmHead}, -1);
    else if (embedding_blocks) head = Linear(embedding_blocks, std::nullopt);
    else head = Linear(std::make_shared<DenseWeight>(embedding), std::nullopt);
    for (int64_t i = 0; i < config.num_nextn_predict_layers; ++i) mtp.emplace_back(config, i, store);
  }

  LayerStep StepOf(const PackedBatch& batch, const ForwardContext& context) const {
    FATHOM_CHECK(context.attention != nullptr, "a forward needs an attention backend");
    auto [cos_TD, sin_TD] = rope.At(batch);
    return LayerStep{std::move(cos_TD), std::move(sin_TD), context};
  }

  // The same for layers on the CPU.
  static LayerStep OnHost(const LayerStep& step) {
    return LayerStep{step.cos_TD.to(at::kCPU), step.sin_TD.to(at::kCPU), step.context};
  }

  void Run(ResidualStream& stream, const PackedBatch& batch, const ForwardContext& context, int64_t first, int64_t last) const {
    FATHOM_CHECK(0 <= first && first <= last && last <= config.num_hidden_layers, "layers {} .. {} of {}", first, last, config.num_hidden_layers);
    if (first == last) return;
    const LayerStep step = StepOf(batch, context);
    const int64_t num_host = NumHostLayers(config, options);
    if (first < num_host) {
      stream.MoveTo(at::kCPU);
      const LayerStep host_step = OnHost(step);
      for (int64_t i = first; i < std::min(last, num_host); ++i) RunLayer(i, stream, host_step);
    }
    stream.MoveTo(options.device);
    for (int64_t i = std::max(first, num_host); i < last; ++i) RunLayer(i, stream, step);
  }

  void RunLayer(int64_t i, ResidualStream& stream, const LayerStep& step) const {
    const DecoderLayer& layer = layers[static_cast<size_t>(i)];
    if (step.context.recompute != nullptr && step.context.recompute->HasLayer(i)) RunAgainInBackward(layer, stream, step);
    else layer(stream, step);
  }

  const MtpModule& MtpAt(int64_t depth_idx) const {
    FATHOM_CHECK(depth_idx >= 0 && static_cast<size_t>(depth_idx) < mtp.size(), "MTP module {} of {}", depth_idx, mtp.size());
    return mtp[static_cast<size_t>(depth_idx)];
  }

  ModelConfig config;
  ModelOptions options;
  WeightStore store;
  RopeTable rope;
  at::Tensor embedding, final_norm;
  std::shared_ptr<GgmlWeight> embedding_blocks;  // instead of `embedding`
  std::vector<DecoderLayer> layers;
  Linear head;
  std::vector<MtpModule> mtp;
};

Model::Model(const ModelConfig& config, const ModelOptions& options) : impl_(std::make_unique<Impl>(config, options)) {}
Model::~Model() = default;

const ModelConfig& Model::config() const { return impl_->config; }
const ModelOptions& Model::options() const { return impl_->options; }

void Model::ForEachWeight(const std::function<void(const WeightSpec&, WeightSlot&)>& visit) {
  const at::NoGradGuard no_grad;
  const std::vector<WeightSpec>& specs = impl_->store.specs();
  for (size_t i = 0; i < specs.size(); ++i) {
    if (specs[i].tied_to.empty()) visit(specs[i], impl_->store.slot(i));
  }
}

void Model::InitializeRandom(uint64_t seed) {
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  const double range = impl_->config.initializer_range;
  // Other devices draw from their own generator: billions of values would take minutes on the CPU.
  const auto generator_of = [&](const at::Tensor& values) {
    return values.is_cpu() ? generator : at::globalContext().defaultGenerator(values.device());
  };
  if (!impl_->options.device.is_cpu()) {
    at::Generator on_device = at::globalContext().defaultGenerator(impl_->options.device);
    on_device.set_current_seed(seed);
  }
  FATHOM_CHECK(impl_->options.block_formats.empty(), "weights in ggml's blocks come from a file");
  ForEachWeight([&](const WeightSpec& spec, WeightSlot& slot) {
    if (slot.set_fp8) {  // values of unit scale under one scale a block
      const QuantizationConfig& blocks = *impl_->config.quantization;
      const at::Tensor values = at::randn(spec.shape, generator, at::TensorOptions(at::kFloat)).to(at::kFloat8_e4m3fn);
      const std::vector<int64_t> shape = {(spec.shape[0] + blocks.block_rows - 1) / blocks.block_rows,
                                          (spec.shape[1] + blocks.block_cols - 1) / blocks.block_cols};
      slot.set_fp8(values, at::full(shape, range, at::TensorOptions(at::kFloat)));
      return;
    }
    switch (spec.kind) {
      case WeightKind::kNorm: slot.values.fill_(1); break;
      case WeightKind::kBias:
      case WeightKind::kRouterBias:
      case WeightKind::kScalar: slot.values.zero_(); break;
      case WeightKind::kEmbedding:
      case WeightKind::kLinear:
      case WeightKind::kRouter:
      case WeightKind::kHead:
        slot.values.normal_(0, range, generator_of(slot.values));
        break;
    }
  });
}

std::vector<std::pair<std::string, at::Tensor>> Model::TrainableLeaves() {
  std::vector<std::pair<std::string, at::Tensor>> leaves;
  const std::string bias_name = ".e_score_correction_bias";  // moved by the balance controller, not by gradients
  for (const auto& leaf : impl_->store.leaves()) {
    if (!leaf.first.ends_with(bias_name)) leaves.push_back(leaf);
  }
  return leaves;
}

void Model::RequireGrad(bool on) {
  for (auto& [name, leaf] : TrainableLeaves()) leaf.set_requires_grad(on);
}

at::Tensor Model::Embed(const at::Tensor& tokens_T) const {
  if (impl_->embedding_blocks) return impl_->embedding_blocks->Embed(tokens_T);
  return at::embedding(impl_->embedding, tokens_T.to(impl_->embedding.device()));
}

at::Tensor Model::Layers(const at::Tensor& hidden_TD, const PackedBatch& batch, const ForwardContext& context, int64_t first, int64_t last) const {
  ResidualStream stream{hidden_TD, {}};
  impl_->Run(stream, batch, context, first, last);
  return stream.Sum();
}

at::Tensor Model::Norm(const at::Tensor& hidden_TD) const { return ops::rms_norm(hidden_TD, impl_->final_norm, impl_->config.rms_norm_eps); }

at::Tensor Model::Forward(const PackedBatch& batch, const ForwardContext& context) const {
  ResidualStream stream{Embed(batch.tokens_T), {}};
  impl_->Run(stream, batch, context, 0, impl_->config.num_hidden_layers);
  return stream.Normalize(impl_->final_norm, impl_->config.rms_norm_eps);
}

at::Tensor Model::Head(const at::Tensor& hidden_rows) const { return impl_->head(hidden_rows); }

at::Tensor Model::HeadWeight() const { return impl_->head.weight()->trainable(); }

at::Tensor Model::Mtp(int64_t depth_idx, const at::Tensor& hidden_TD, const PackedBatch& next_tokens, const ForwardContext& context) const {
  return impl_->MtpAt(depth_idx)(Embed(next_tokens.tokens_T).to(impl_->options.device), hidden_TD, impl_->StepOf(next_tokens, context));
}

at::Tensor Model::MtpHeadNorm(int64_t depth_idx, const at::Tensor& mtp_hidden_TD) const { return impl_->MtpAt(depth_idx).HeadNorm(mtp_hidden_TD); }

at::Tensor Model::MtpHead(int64_t depth_idx, const at::Tensor& mtp_hidden_TD) const { return Head(MtpHeadNorm(depth_idx, mtp_hidden_TD)); }

}  // namespace fathom
