// What the server knows of its model.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "engine/engine.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace fathom {

struct ServedModel {
  std::vector<std::string> names;  // the first is the one that answers carry
  std::string path;
  Engine* engine = nullptr;
  std::shared_ptr<const Tokenizer> tokenizer;
  std::shared_ptr<const ChatTemplate> chat_template;  // null: none
  Json generation_config;
  std::vector<int32_t> eos_tokens;
  int64_t max_model_len = 0;  // tokens that a prompt and its answer may have
  int64_t created = 0;        // seconds since 1970
  std::string version;
  const std::string& name() const { return names.front(); }
};

}  // namespace fathom
