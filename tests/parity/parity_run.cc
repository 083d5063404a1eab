#include "parity/parity_run.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "model/attention_backend.h"

namespace fathom::parity {
namespace {

ForwardContext ContextOf(AttentionBackend* attention) {
  ForwardContext context;
  context.attention = attention;
  return context;
}

at::Tensor Hidden(const Model& model, const PackedBatch& batch) {
  const auto attention = MakePackedCausal(model.config(), batch);
  return model.Forward(batch, ContextOf(attention.get()));
}

// Rows of `hidden` that have a next token, and those next tokens as a batch: MTP's input.
at::Tensor MtpHidden(const Model& model, const at::Tensor& hidden, const std::vector<std::vector<int32_t>>& prompts) {
  std::vector<at::Tensor> rows;
  std::vector<std::vector<int32_t>> next;
  int64_t first = 0;
  for (const auto& prompt : prompts) {
    const int64_t n = static_cast<int64_t>(prompt.size());
    rows.push_back(hidden.narrow(0, first, n - 1));
    next.emplace_back(prompt.begin() + 1, prompt.end());
    first += n;
  }
  const PackedBatch batch = PackedBatch::FromSequences(next, model.options().device);
  const auto attention = MakePackedCausal(model.config(), batch);
  return model.Mtp(0, at::cat(rows, 0), batch, ContextOf(attention.get()));
}

// A step of a paged cache for sequences whose pages are scattered: sequence b's i-th page is i * B + (B - 1 - b).
struct CachedRun {
  CachedRun(const Model& model_in, const std::vector<size_t>& lengths)
      : model(model_in), num_sequences(static_cast<int64_t>(lengths.size())), max_len(static_cast<int64_t>(*std::max_element(lengths.begin(), lengths.end()))),
        cache(model.config(), model.options(), num_sequences * ((max_len + kPageTokens - 1) / kPageTokens)),
        kv_lens(lengths.size(), 0) {}

  // Sequence b goes on with tokens[b] (empty: it waits). Hidden rows of the new tokens.
  at::Tensor Step(const std::vector<std::vector<int32_t>>& tokens) {
    const at::NoGradGuard no_grad;
    PackedBatch batch = PackedBatch::FromSequences(tokens, model.options().device);
    PagedCache::Step step;
    std::vector<at::Tensor> positions;
    for (size_t b = 0; b < tokens.size(); ++b) {
      positions.push_back(at::arange(kv_lens[b], kv_lens[b] + static_cast<int64_t>(tokens[b].size()), at::kLong));
      kv_lens[b] += static_cast<int32_t>(tokens[b].size());
      step.page_table.emplace_back();
      for (int64_t i = 0; i * kPageTokens < kv_lens[b]; ++i) {
        step.page_table.back().push_back(static_cast<int32_t>(i * num_sequences + num_sequences - 1 - static_cast<int64_t>(b)));
      }
    }
    step.kv_lens = kv_lens;
    batch.positions_T = at::cat(positions, 0).to(model.options().device);
    const auto attention = cache.Bind(batch, step);
    return model.Head(model.Forward(batch, ContextOf(attention.get()))).to(at::kFloat);
  }

  const Model& model;
  int64_t num_sequences, max_len;
  PagedCache cache;
  std::vector<int32_t> kv_lens;
};

at::Tensor CrossEntropySum(const at::Tensor& logits, const std::vector<std::vector<int32_t>>& prompts, int64_t shift) {
  at::Tensor sum = at::zeros({}, logits.options().dtype(at::kFloat));
  int64_t first = 0;
  for (const auto& prompt : prompts) {
    const int64_t rows = static_cast<int64_t>(prompt.size()) - shift + 1, targets = rows - 1;
    const std::vector<int64_t> next(prompt.begin() + shift, prompt.end());
    const at::Tensor log_probs = at::log_softmax(logits.narrow(0, first, targets).to(at::kFloat), -1);
    sum = sum - log_probs.gather(1, at::tensor(next).to(logits.device()).unsqueeze(1)).sum();
    first += rows;
  }
  return sum;
}

}  // namespace

at::Tensor Logits(const Model& model, const std::vector<int32_t>& tokens) { return PackedLogits(model, {tokens}).front(); }

std::vector<at::Tensor> PackedLogits(const Model& model, const std::vector<std::vector<int32_t>>& prompts) {
  const at::NoGradGuard no_grad;
  const at::Tensor logits = model.Head(Hidden(model, PackedBatch::FromSequences(prompts, model.options().device))).to(at::kFloat);
  std::vector<at::Tensor> parts;
  int64_t first = 0;
  for (const auto& prompt : prompts) {
    parts.push_back(logits.narrow(0, first, static_cast<int64_t>(prompt.size())));
    first += static_cast<int64_t>(prompt.size());
  }
  return parts;
}

at::Tensor MtpLogits(const Model& model, const std::vector<int32_t>& tokens) {
  const at::NoGradGuard no_grad;
  const at::Tensor hidden = Hidden(model, PackedBatch::FromSequences({tokens}, model.options().device));
  return model.MtpHead(0, MtpHidden(model, hidden, {tokens})).to(at::kFloat);
}

at::Tensor PagedLogits(const Model& model, const std::vector<int32_t>& tokens, const std::vector<int64_t>& chunks) {
  CachedRun run(model, {tokens.size()});
  std::vector<at::Tensor> rows;
  auto next = tokens.begin();
  for (size_t i = 0; next != tokens.end(); ++i) {
    const int64_t n = std::min<int64_t>(i < chunks.size() ? chunks[i] : 1, tokens.end() - next);
    rows.push_back(run.Step({std::vector<int32_t>(next, next + n)}));
    next += n;
  }
  return at::cat(rows, 0);
}

std::vector<at::Tensor> BatchedPagedLogits(const Model& model, const std::vector<std::vector<int32_t>>& prompts) {
  std::vector<size_t> lengths;
  for (const auto& prompt : prompts) lengths.push_back(prompt.size());
  CachedRun run(model, lengths);
  std::vector<std::vector<at::Tensor>> rows(prompts.size());
  for (int64_t i = 0; i < run.max_len; ++i) {
    std::vector<std::vector<int32_t>> tokens(prompts.size());
    for (size_t b = 0; b < prompts.size(); ++b) {
      if (i < static_cast<int64_t>(prompts[b].size())) tokens[b].push_back(prompts[b][static_cast<size_t>(i)]);
    }
    const at::Tensor logits = run.Step(tokens);
    int64_t row = 0;
    for (size_t b = 0; b < prompts.size(); ++b) {
      if (!tokens[b].empty()) rows[b].push_back(logits.narrow(0, row++, 1));
    }
  }
  std::vector<at::Tensor> parts;
  for (const auto& part : rows) parts.push_back(at::cat(part, 0));
  return parts;
}

std::vector<int32_t> Greedy(const Model& model, const std::vector<int32_t>& prompt, int64_t count) {
  CachedRun run(model, {prompt.size() + static_cast<size_t>(count)});
  std::vector<int32_t> tokens = prompt, answer;
  for (int64_t i = 0; i < count; ++i) {
    const at::Tensor logits = run.Step({tokens});
    answer.push_back(static_cast<int32_t>(logits.select(0, logits.size(0) - 1).argmax().item<int64_t>()));
    tokens = {answer.back()};
  }
  return answer;
}

at::Tensor Loss(const Model& model, const std::vector<std::vector<int32_t>>& prompts) {
  int64_t num_tokens = 0;
  for (const auto& prompt : prompts) num_tokens += static_cast<int64_t>(prompt.size());
  const int64_t B = static_cast<int64_t>(prompts.size());
  const at::Tensor hidden = Hidden(model, PackedBatch::FromSequences(prompts, model.options().device));
  const at::Tensor loss = CrossEntropySum(model.Head(hidden), prompts, 1) / (num_tokens - B);
  if (model.config().num_nextn_predict_layers == 0) return loss;
  const at::Tensor mtp_logits = model.MtpHead(0, MtpHidden(model, hidden, prompts));
  return loss + 0.3 * CrossEntropySum(mtp_logits, prompts, 2) / (num_tokens - 2 * B);
}

std::map<std::string, at::Tensor> Gradients(Model& model) {
  const auto leaves = model.TrainableLeaves();
  std::map<std::string, at::Tensor> gradients;
  model.ForEachWeight([&](const WeightSpec& spec, WeightSlot& slot) {
    for (const auto& [name, leaf] : leaves) {
      if (!leaf.is_alias_of(slot.values)) continue;
      const at::Tensor grad = leaf.grad().defined() ? leaf.grad() : at::zeros_like(leaf);
      gradients[spec.name] = grad.as_strided(slot.values.sizes(), slot.values.strides(), slot.values.storage_offset() - leaf.storage_offset()).to(at::kFloat);
    }
  });
  return gradients;
}

}  // namespace fathom::parity
