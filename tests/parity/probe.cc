// fathom_probe --model DIR --tokens "1,2,3;4,5" [--out F.safetensors] [--grads N] [--greedy N] [--keep-fp8] [--speed]
// What parity.py compares, of any checkpoint in float32: logits_I [T, V] and mtp_logits_I of each prompt, paged_I (the same through the cache:
// 5 tokens at once, then one a step), grad.NAME and loss of a training step (train/objective.h) over the first N prompts, greedy tokens on stdout as JSON.
// --speed prints prefill and decode tokens per second in bfloat16 instead.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <chrono>
#include <cstdio>
#include <functional>
#include <map>
#include <sstream>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/save_tensors.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "parity/parity_run.h"
#include "train/objective.h"

namespace fathom::parity {
namespace {

std::vector<std::vector<int32_t>> ParsePrompts(const std::string& text) {
  std::vector<std::vector<int32_t>> prompts;
  std::stringstream lines(text);
  for (std::string line; std::getline(lines, line, ';');) {
    prompts.emplace_back();
    std::stringstream ids(line);
    for (std::string id; std::getline(ids, id, ',');) prompts.back().push_back(std::stoi(id));
  }
  return prompts;
}

constexpr double kMtpWeight = 0.3;

// The prompts as the trainer takes them: a sequence each, every token the target of the one before.
TrainBatch BatchOf(const std::vector<std::vector<int32_t>>& prompts, int64_t mtp_depths) {
  std::vector<int64_t> tokens, targets;
  std::vector<int32_t> lens;
  for (const auto& prompt : prompts) {
    tokens.insert(tokens.end(), prompt.begin(), prompt.end());
    targets.insert(targets.end(), prompt.begin() + 1, prompt.end());
    targets.push_back(ops::kIgnoredTarget);
    lens.push_back(static_cast<int32_t>(prompt.size()));
  }
  return MakeTrainBatch(tokens, targets, lens, mtp_depths, at::kCPU);
}

double Seconds(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void PrintSpeed(const Model& model) {
  const c10::InferenceMode inference;
  std::vector<int32_t> prompt(512);
  for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<int32_t>(i * 7 % 1000);
  constexpr int32_t kNewTokens = 64;
  PagedCache cache(model.config(), model.options(), 10);
  PagedCache::Step step;
  step.page_table = {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}};
  const auto forward = [&](const std::vector<int32_t>& tokens, int32_t kv_len) {
    PackedBatch batch = PackedBatch::FromSequences({tokens}, model.options().device);
    batch.positions_T.add_(kv_len - static_cast<int64_t>(tokens.size()));
    step.kv_lens = {kv_len};
    const auto attention = cache.Bind(batch, step);
    ForwardContext context;
    context.attention = attention.get();
    const at::Tensor hidden = model.Forward(batch, context);
    return model.Head(hidden.narrow(0, hidden.size(0) - 1, 1)).argmax().item<int64_t>();
  };
  for (int round = 0; round < 3; ++round) {
    const double prefill_s = Seconds([&] { forward(prompt, 512); });
    const double decode_s = Seconds([&] {
      for (int32_t i = 0; i < kNewTokens; ++i) forward({i}, 513 + i);
    });
    std::printf("prefill %.0f tok/s, decode %.1f tok/s (%.2f ms a token), %d threads\n", 512 / prefill_s, kNewTokens / decode_s,
                decode_s / kNewTokens * 1e3, at::get_num_threads());
  }
}

int Main(const std::map<std::string, std::string>& flags) {
  const Checkpoint checkpoint = Checkpoint::Open(flags.at("--model"));
  ModelOptions options;
  options.dtype = flags.count("--speed") != 0 ? at::kBFloat16 : at::kFloat;
  options.keep_fp8 = flags.count("--keep-fp8") != 0;
  const std::unique_ptr<Model> model = LoadModel(checkpoint, options);
  if (flags.count("--speed") != 0) {
    PrintSpeed(*model);
    return 0;
  }
  const std::vector<std::vector<int32_t>> prompts = ParsePrompts(flags.at("--tokens"));
  std::vector<std::pair<std::string, at::Tensor>> out;
  Json answer = Json::object();
  for (size_t i = 0; i < prompts.size(); ++i) {
    const std::string suffix = "_" + std::to_string(i);
    out.emplace_back("logits" + suffix, Logits(*model, prompts[i]).contiguous());
    if (checkpoint.config.rope_scaling.kind != RopeKind::kDynamic) out.emplace_back("paged" + suffix, PagedLogits(*model, prompts[i], {5}).contiguous());
    if (checkpoint.config.num_nextn_predict_layers > 0 && prompts[i].size() > 1) {
      out.emplace_back("mtp_logits" + suffix, MtpLogits(*model, prompts[i]).contiguous());
    }
    if (flags.count("--greedy") != 0) answer["greedy"].push_back(Greedy(*model, prompts[i], std::stoll(flags.at("--greedy"))));
  }
  if (flags.count("--grads") != 0) {
    model->RequireGrad(true);
    const TrainBatch batch = BatchOf({prompts.begin(), prompts.begin() + std::stoll(flags.at("--grads"))}, checkpoint.config.num_nextn_predict_layers);
    const Losses losses = AddGradients(*model, batch, CountTargets(std::vector<TrainBatch>{batch}), {.mtp_weight = kMtpWeight});
    answer["loss"] = losses.next_token.item<double>() + (losses.mtp.empty() ? 0 : kMtpWeight * losses.mtp[0].item<double>());
    for (const auto& [name, gradient] : Gradients(*model)) out.emplace_back("grad." + name, gradient.contiguous());
  }
  if (flags.count("--out") != 0) SaveTensors(flags.at("--out"), out);
  std::printf("%s\n", answer.dump().c_str());
  return 0;
}

}  // namespace
}  // namespace fathom::parity

int main(int argc, char** argv) {
  std::map<std::string, std::string> flags;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    const bool has_value = i + 1 < argc && std::string(argv[i + 1]).rfind("--", 0) != 0;
    flags[name] = has_value ? argv[++i] : "";
  }
  try {
    return fathom::parity::Main(flags);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return 1;
  }
}
