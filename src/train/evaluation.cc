#include "train/evaluation.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/eq.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <numbers>

#include "model/attention_backend.h"
#include "train/batch.h"
#include "train/objective.h"

namespace fathom {
namespace {

constexpr int64_t kRowsOfLogits = 1024;  // that exist at once

// The likeliest token behind each row [R] of the head's input.
at::Tensor LikeliestTokens(const Model& model, const at::Tensor& rows_RD) {
  std::vector<at::Tensor> parts;
  for (int64_t begin = 0; begin < rows_RD.size(0); begin += kRowsOfLogits) {
    parts.push_back(at::argmax(model.Head(rows_RD.narrow(0, begin, std::min(kRowsOfLogits, rows_RD.size(0) - begin))), 1));
  }
  return at::cat(parts);
}

// (places where the MTP module agrees with the model, places).
std::pair<int64_t, int64_t> CountAgreements(const Model& model, const TrainBatch& batch, double router_temperature) {
  const MtpRows& mtp = batch.mtp[0];
  if (mtp.rows.numel() == 0) return {0, 0};
  const auto attention = MakePackedCausal(model.config(), batch.packed), next_attention = MakePackedCausal(model.config(), mtp.next_tokens);
  const at::Tensor hidden_TD = model.Forward(batch.packed, {.attention = attention.get(), .router_temperature = router_temperature});
  const at::Tensor guess_RD = model.Mtp(0, hidden_TD.index_select(0, mtp.rows), mtp.next_tokens,
                                        {.attention = next_attention.get(), .router_temperature = router_temperature});
  const at::Tensor guesses_R = LikeliestTokens(model, model.MtpHeadNorm(0, guess_RD));
  const at::Tensor own_R = LikeliestTokens(model, hidden_TD.index_select(0, mtp.rows.add(1)));
  return {at::eq(guesses_R, own_R).sum().item<int64_t>(), mtp.rows.numel()};
}

}  // namespace

std::optional<EvaluationMetrics> Evaluate(const Model& model, DataLoader& held_out, const EvaluationOptions& options) {
  const at::NoGradGuard no_grad;
  const ObjectiveOptions objective{.mtp_weight = 0, .router_temperature = options.router_temperature};
  const bool has_mtp = model.config().num_nextn_predict_layers > 0;
  double nats = 0, targets = 0, bytes = 0;
  int64_t num_agreements = 0, num_guesses = 0;
  for (int64_t left = options.rows; left > 0; left -= options.rows_at_once) {
    const std::optional<Batch> batch = held_out.Next(std::min(left, options.rows_at_once));
    if (!batch || batch->num_targets == 0) break;
    const TrainBatch rows = MakeTrainBatch(batch->tokens, batch->targets, batch->lens, has_mtp ? 1 : 0, model.options().device);
    const Losses losses = EvaluateLosses(model, rows, CountTargets(std::vector<TrainBatch>{rows}), objective);
    nats += losses.next_token.item<double>() * static_cast<double>(batch->num_targets);
    targets += static_cast<double>(batch->num_targets);
    bytes += static_cast<double>(batch->target_bytes);
    if (!has_mtp) continue;
    const auto [agreements, guesses] = CountAgreements(model, rows, options.router_temperature);
    num_agreements += agreements;
    num_guesses += guesses;
  }
  if (targets == 0) return std::nullopt;
  EvaluationMetrics metrics{.loss = nats / targets, .bits_per_byte = bytes > 0 ? nats / std::numbers::ln2 / bytes : 0, .mtp_acceptance = {}};
  if (num_guesses > 0) metrics.mtp_acceptance = static_cast<double>(num_agreements) / static_cast<double>(num_guesses);
  return metrics;
}

std::vector<std::string> ContinueTexts(const Model& model, const Tokenizer& tokenizer, const std::vector<std::string>& prompts, int64_t num_tokens,
                                       double router_temperature) {
  const at::NoGradGuard no_grad;
  std::vector<std::vector<int32_t>> texts;
  std::vector<size_t> prompt_lens;
  for (const std::string& prompt : prompts) {
    texts.push_back(tokenizer.Encode(prompt, {.add_bos = tokenizer.adds_bos()}));
    if (texts.back().empty()) texts.back().push_back(tokenizer.eos_id());
    prompt_lens.push_back(texts.back().size());
  }
  std::vector<bool> has_ended(texts.size(), false);
  for (int64_t step = 0; step < num_tokens && std::find(has_ended.begin(), has_ended.end(), false) != has_ended.end(); ++step) {
    const PackedBatch batch = PackedBatch::FromSequences(texts, model.options().device);
    std::vector<int64_t> last_rows;
    for (const auto& text : texts) last_rows.push_back((last_rows.empty() ? -1 : last_rows.back()) + static_cast<int64_t>(text.size()));
    const auto attention = MakePackedCausal(model.config(), batch);
    const at::Tensor hidden_TD = model.Forward(batch, {.attention = attention.get(), .router_temperature = router_temperature});
    const at::Tensor next = LikeliestTokens(model, hidden_TD.index_select(0, at::tensor(last_rows).to(hidden_TD.device()))).to(at::kCPU);
    for (size_t i = 0; i < texts.size(); ++i) {
      if (has_ended[i]) continue;
      const auto token = static_cast<int32_t>(next.const_data_ptr<int64_t>()[i]);
      has_ended[i] = token == tokenizer.eos_id();
      if (!has_ended[i]) texts[i].push_back(token);
    }
  }
  std::vector<std::string> answers;
  for (size_t i = 0; i < texts.size(); ++i) {
    std::vector<int32_t> answer;
    for (size_t at = prompt_lens[i]; at < texts[i].size(); ++at) {
      if (texts[i][at] < tokenizer.vocab_size()) answer.push_back(texts[i][at]);  // a model's vocabulary may be larger than its tokenizer's
    }
    answers.push_back(tokenizer.Decode(answer, false));
  }
  return answers;
}

}  // namespace fathom
