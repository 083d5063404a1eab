// A whole model of a few thousand weights in Hugging Face's layout: bytes as tokens, a template, random weights.
#pragma once

#include <filesystem>

#include "base/json.h"

namespace fathom {

inline constexpr int kTinyEnd = 256;         // "<eos>"
inline constexpr int kTinyVocabulary = 257;  // 256 bytes and the end

// Makes it in `folder` (new): Llama architecture, or DeepSeek-V3's with a MTP module. `context`: max_position_embeddings.
void WriteTinyModel(const std::filesystem::path& folder, int64_t context, bool deepseek);

// Changes one JSON file of it.
void EditJson(const std::filesystem::path& file, const Json& patch);

}  // namespace fathom
