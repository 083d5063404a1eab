// The mixture's seams: a recorded choice replays, and the router's temperature divides its logits.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/model.h"

namespace fathom {
namespace {

ModelConfig TinyMixture(Routing routing) {
  ModelConfig config;
  config.architecture = routing == Routing::kNoauxTc ? Architecture::kDeepseekV3 : Architecture::kDeepseekV2;
  config.vocab_size = 31;
  config.hidden_size = 22;
  config.intermediate_size = 26;
  config.num_hidden_layers = 3;
  config.num_attention_heads = config.num_key_value_heads = 2;
  config.q_lora_rank = 10;
  config.kv_lora_rank = 14;
  config.qk_nope_head_dim = 6;
  config.qk_rope_head_dim = 4;
  config.v_head_dim = 7;
  config.n_routed_experts = 8;
  config.num_experts_per_tok = 3;
  config.moe_intermediate_size = 9;
  config.first_k_dense_replace = 1;
  config.n_group = routing == Routing::kNoauxTc ? 4 : 1;
  config.topk_group = routing == Routing::kNoauxTc ? 2 : 1;
  config.routing = routing;
  config.initializer_range = 0.3;
  return config;
}

at::Tensor Logits(const Model& model, RoutingTrace* trace, double temperature = 1.0) {
  const at::NoGradGuard no_grad;
  const PackedBatch batch = PackedBatch::FromSequences({{1, 5, 9, 2}, {7, 7, 3}}, at::kCPU);
  const auto attention = MakePackedCausal(model.config(), batch);
  ForwardContext context;
  context.attention = attention.get();
  context.routing = trace;
  context.router_temperature = temperature;
  return model.Head(model.Forward(batch, context));
}

Model MakeModel(Routing routing) {
  ModelOptions options;
  options.dtype = at::kFloat;
  return Model(TinyMixture(routing), options);
}

TEST(Routing, ARecordedChoiceReplaysToTheSameLogitsAndAnotherDoesNot) {
  Model model = MakeModel(Routing::kNoauxTc);
  model.InitializeRandom(3);
  RoutingTrace trace;
  const at::Tensor recorded = Logits(model, &trace);
  ASSERT_EQ(trace.topk_idx.size(), 2u);
  EXPECT_EQ(trace.topk_idx[0].sizes(), (at::IntArrayRef{7, 3}));
  trace.replay = true;
  EXPECT_TRUE(at::allclose(Logits(model, &trace), recorded, 1e-6, 1e-6));
  trace.topk_idx[1] = trace.topk_idx[1].add(1).remainder(8).to(at::kInt);
  EXPECT_FALSE(at::allclose(Logits(model, &trace), recorded, 1e-3, 1e-3));
}

TEST(Routing, TheTemperatureIsTheScheduleTimesItsLearnedFactor) {
  Model model = MakeModel(Routing::kTemperatureSoftmax);
  model.InitializeRandom(4);
  const at::Tensor scheduled = Logits(model, nullptr, 2.0);
  EXPECT_FALSE(at::allclose(Logits(model, nullptr, 1.0), scheduled, 1e-4, 1e-4));
  model.ForEachWeight([](const WeightSpec& spec, WeightSlot& slot) {
    if (spec.role == WeightRole::kLogTemperature) slot.values.fill_(std::log(2.0));
  });
  EXPECT_TRUE(at::allclose(Logits(model, nullptr, 1.0), scheduled, 1e-5, 1e-5));
}

TEST(Routing, TheSameSeedDrawsTheSameModel) {
  Model a = MakeModel(Routing::kNoauxTc), b = MakeModel(Routing::kNoauxTc);
  a.InitializeRandom(7);
  b.InitializeRandom(7);
  EXPECT_TRUE(at::equal(Logits(a, nullptr), Logits(b, nullptr)));
}

}  // namespace
}  // namespace fathom
