#include "model/config_rope.h"

#include <map>
#include <set>

#include "base/error.h"

namespace fathom {
namespace {

constexpr double kMaxFactor = 1e6;
constexpr int64_t kMaxPosition = int64_t{1} << 40;

const std::map<std::string, RopeKind>& KindNames() {
  static const std::map<std::string, RopeKind> names = {{"default", RopeKind::kDefault}, {"linear", RopeKind::kLinear},
                                                        {"dynamic", RopeKind::kDynamic}, {"yarn", RopeKind::kYarn},
                                                        {"llama3", RopeKind::kLlama3}};
  return names;
}

RopeKind ReadKind(ConfigKeys& rope) {
  const std::string type = rope.String("type", "default");
  const std::string name = rope.String("rope_type", type);
  const auto found = KindNames().find(name);
  if (found == KindNames().end()) {
    rope.Refuse(rope.Has("rope_type") ? "rope_type" : "type", "must be one of default, linear, dynamic, yarn, llama3");
  }
  return found->second;
}

double RequiredFactor(ConfigKeys& rope) {
  const std::optional<double> factor = rope.OptionalReal("factor", 1e-6, kMaxFactor);
  if (!factor) rope.Refuse("factor", "must be a positive number for this rope type");
  return *factor;
}

void ReadScaling(ConfigKeys& rope, std::optional<int64_t> outer_original, ModelConfig& config) {
  RopeScaling& scaling = config.rope_scaling;
  scaling.kind = ReadKind(rope);
  config.rope_theta = rope.Real("rope_theta", 1e-3, 1e15, config.rope_theta);
  rope.RequireNeutral("partial_rotary_factor", 1.0, "partly rotated heads are not supported");

  const std::optional<int64_t> inner_original = rope.OptionalInt("original_max_position_embeddings", 1, kMaxPosition);
  scaling.original_max_position_embeddings =
      outer_original.value_or(inner_original.value_or(config.max_position_embeddings));
  // transformers takes mscale_all_dim into MLA's softmax scale for any scaled kind; elsewhere only YaRN reads these.
  scaling.mscale_all_dim = rope.OptionalReal("mscale_all_dim", 0, 1e3);
  switch (scaling.kind) {
    case RopeKind::kDefault:
      scaling = RopeScaling{};
      rope.OptionalReal("factor", 0, kMaxFactor);
      break;
    case RopeKind::kLinear:
    case RopeKind::kDynamic:
      scaling.factor = RequiredFactor(rope);
      break;
    case RopeKind::kYarn: {
      const double ratio = static_cast<double>(config.max_position_embeddings) / static_cast<double>(scaling.original_max_position_embeddings);
      scaling.factor = rope.OptionalReal("factor", 1e-6, kMaxFactor).value_or(ratio);
      // Zero means unset, as in transformers.
      const double fast = rope.Real("beta_fast", 0, 1e6, 0), slow = rope.Real("beta_slow", 0, 1e6, 0);
      scaling.beta_fast = fast == 0 ? 32 : fast;
      scaling.beta_slow = slow == 0 ? 1 : slow;
      scaling.mscale = rope.OptionalReal("mscale", 0, 1e3);
      scaling.attention_factor = rope.OptionalReal("attention_factor", 0, 1e6);
      scaling.truncate = rope.Bool("truncate", true);
      break;
    }
    case RopeKind::kLlama3:
      scaling.factor = RequiredFactor(rope);
      scaling.low_freq_factor = rope.Real("low_freq_factor", 1e-6, 1e6, 1);
      scaling.high_freq_factor = rope.Real("high_freq_factor", 1e-6, 1e6, 4);
      if (scaling.high_freq_factor <= scaling.low_freq_factor) {
        rope.Refuse("high_freq_factor", fmt::format("must be above low_freq_factor = {:g}", scaling.low_freq_factor));
      }
      break;
  }
}

}  // namespace

void ReadRope(ConfigKeys& keys, ModelConfig& config) {
  config.rope_theta = keys.Real("rope_theta", 1e-3, 1e15, 10000.0);
  keys.RequireNeutral("partial_rotary_factor", 1.0, "partly rotated heads are not supported");
  const std::optional<int64_t> outer_original = keys.OptionalInt("original_max_position_embeddings", 1, kMaxPosition);
  const Json* scaling = keys.Find("rope_scaling");
  const Json* parameters = keys.Find("rope_parameters");
  const bool use_scaling = scaling != nullptr && !scaling->empty();
  const Json* chosen = use_scaling ? scaling : parameters;
  config.rope_scaling = RopeScaling{};
  if (chosen == nullptr || (chosen->is_object() && chosen->empty())) return;
  ConfigKeys rope(*chosen, keys.what(), use_scaling ? "rope_scaling." : "rope_parameters.");
  ReadScaling(rope, outer_original, config);
  rope.RefuseUnknown({"finetuned", "beta_fast", "beta_slow", "mscale", "attention_factor", "truncate", "original_max_position_embeddings"});
}

Json RopeScalingJson(const ModelConfig& config) {
  const RopeScaling& scaling = config.rope_scaling;
  if (scaling.kind == RopeKind::kDefault) return nullptr;
  Json json;
  for (const auto& [name, kind] : KindNames()) {
    if (kind == scaling.kind) json["type"] = json["rope_type"] = name;
  }
  json["factor"] = scaling.factor;
  if (scaling.mscale_all_dim) json["mscale_all_dim"] = *scaling.mscale_all_dim;
  if (scaling.kind == RopeKind::kYarn) {
    json["original_max_position_embeddings"] = scaling.original_max_position_embeddings;
    json["beta_fast"] = scaling.beta_fast;
    json["beta_slow"] = scaling.beta_slow;
    if (scaling.mscale) json["mscale"] = *scaling.mscale;
    if (scaling.attention_factor) json["attention_factor"] = *scaling.attention_factor;
    if (!scaling.truncate) json["truncate"] = false;
  }
  if (scaling.kind == RopeKind::kLlama3) {
    json["original_max_position_embeddings"] = scaling.original_max_position_embeddings;
    json["low_freq_factor"] = scaling.low_freq_factor;
    json["high_freq_factor"] = scaling.high_freq_factor;
  }
  return json;
}

}  // namespace fathom
