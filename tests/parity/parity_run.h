// What the parity tests run: prompts through the packed forward, through the paged cache in steps, and a loss with its gradients.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "model/model.h"

namespace fathom::parity {

// Logits [T, V] float32 of one prompt in one packed forward; of MTP's first module [T - 1, V].
at::Tensor Logits(const Model& model, const std::vector<int32_t>& tokens);
at::Tensor MtpLogits(const Model& model, const std::vector<int32_t>& tokens);

// Logits [T, V] of each prompt when all are packed into one forward.
std::vector<at::Tensor> PackedLogits(const Model& model, const std::vector<std::vector<int32_t>>& prompts);

// Logits [T, V] through a paged cache: the first `chunks[0]` tokens in one step, then the next, ... and what is left one token a step.
at::Tensor PagedLogits(const Model& model, const std::vector<int32_t>& tokens, const std::vector<int64_t>& chunks);

// The prompts side by side in one cache, each a token a step; logits [T, V] of each.
std::vector<at::Tensor> BatchedPagedLogits(const Model& model, const std::vector<std::vector<int32_t>>& prompts);

// `count` greedy tokens after the prompt, prefilled at once and decoded through the paged cache.
std::vector<int32_t> Greedy(const Model& model, const std::vector<int32_t>& prompt, int64_t count);

// The loss of reference.py over `prompts` packed together: sum of CE / number of targets, plus 0.3 times MTP's.
at::Tensor Loss(const Model& model, const std::vector<std::vector<int32_t>>& prompts);

// Gradients of every row of the weight table (float32, zeros where none flowed) after Loss().backward().
std::map<std::string, at::Tensor> Gradients(Model& model);

}  // namespace fathom::parity
