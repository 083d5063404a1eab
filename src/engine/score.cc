// T: tokens; D: model width; V: vocabulary.
#include "engine/score.h"

#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <iterator>

#include "base/error.h"
#include "engine/generate.h"
#include "engine/sampler.h"

namespace fathom {
namespace {

constexpr int64_t kRows = 64;  // of logits at a time: 33 MB of float32 at V3's vocabulary

// Calls visit(first row, logits [rows, V] float32 on the CPU) for all rows; false when cancelled.
bool ForEachLogits(const at::Tensor& hidden_TD, const std::function<at::Tensor(const at::Tensor&)>& head, const std::function<bool()>& cancelled,
                   const std::function<void(int64_t, const at::Tensor&)>& visit) {
  for (int64_t row = 0; row < hidden_TD.size(0); row += kRows) {
    if (cancelled && cancelled()) return false;
    const at::Tensor rows_RD = hidden_TD.slice(0, row, std::min(row + kRows, hidden_TD.size(0)));
    visit(row, head(rows_RD).to(at::kCPU, at::kFloat).contiguous());
  }
  return true;
}

at::Tensor Hidden(const Model& model, const PackedBatch& batch) {
  const auto attention = MakePackedCausal(model.config(), batch);
  return model.Forward(batch, {.attention = attention.get(), .routing = nullptr});
}

}  // namespace

Score ScoreTokens(const Model& model, const std::vector<int32_t>& tokens, int64_t context_length, const ScoreOptions& options) {
  CheckRequest({.prompt = tokens}, model.config().vocab_size, context_length);
  c10::InferenceMode inference;
  const int64_t num_tokens = std::ssize(tokens);
  const int64_t vocab_size = model.config().vocab_size;
  const PackedBatch batch = PackedBatch::FromSequences({tokens}, model.options().device);
  const at::Tensor hidden_TD = Hidden(model, batch);

  Score score;
  if (options.keep_logits) score.logits_TV = at::empty({num_tokens, vocab_size}, at::kFloat);
  const auto keep = [](at::Tensor& all, int64_t row, const at::Tensor& rows) { all.slice(0, row, row + rows.size(0)).copy_(rows); };
  const auto head = [&](const at::Tensor& rows) { return model.Head(rows); };
  const auto visit = [&](int64_t first, const at::Tensor& logits_RV) {
    if (options.keep_logits) keep(score.logits_TV, first, logits_RV);
    for (int64_t r = 0; r < logits_RV.size(0) && first + r + 1 < num_tokens; ++r) {
      const std::span<const float> row(logits_RV.const_data_ptr<float>() + r * vocab_size, static_cast<size_t>(vocab_size));
      score.logprobs.push_back(LogprobsOf(row, tokens[first + r + 1], 0).logprob);
    }
  };
  score.cancelled = !ForEachLogits(hidden_TD, head, options.cancelled, visit);
  if (score.cancelled || !options.keep_logits || model.config().num_nextn_predict_layers == 0 || num_tokens < 2) return score;

  const PackedBatch next_batch = PackedBatch::FromSequences({{tokens.begin() + 1, tokens.end()}}, model.options().device);
  const auto attention = MakePackedCausal(model.config(), next_batch);
  const at::Tensor mtp_hidden_TD =
      model.Mtp(0, hidden_TD.slice(0, 0, num_tokens - 1), next_batch, {.attention = attention.get(), .routing = nullptr});
  score.mtp_logits_TV = at::empty({num_tokens - 1, vocab_size}, at::kFloat);
  score.cancelled = !ForEachLogits(
      mtp_hidden_TD, [&](const at::Tensor& rows) { return model.MtpHead(0, rows); }, options.cancelled,
      [&](int64_t first, const at::Tensor& logits_RV) { keep(score.mtp_logits_TV, first, logits_RV); });
  return score;
}

}  // namespace fathom
