// Chat templates: Jinja as transformers runs it (jinja2's ImmutableSandboxedEnvironment with trim_blocks, lstrip_blocks, loop controls, tojson
// without HTML escaping, raise_exception, strftime_now).
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "base/json.h"

namespace fathom {

struct TemplateInput {
  OrderedJson messages = OrderedJson::array();
  OrderedJson tools;                  // null: none
  bool add_generation_prompt = false;
  OrderedJson args = OrderedJson::object();  // other variables (thinking switch, ...); they may override bos_token and the like
};

class ChatTemplate {
 public:
  // From chat_template.jinja, tokenizer_config.json ("chat_template": a string, or a list of named ones: "default", "tool_use") or a GGUF.
  // nullptr when the model has none. `path` as Tokenizer::Load. Throws UserError for a template that does not parse: name, line, cause.
  static std::shared_ptr<const ChatTemplate> Load(const std::filesystem::path& path);
  // bos_token, eos_token etc. given as strings in `special_tokens` ({"bos_token": "<s>", ...}).
  static std::shared_ptr<const ChatTemplate> Parse(const std::string& source, const std::string& name, const OrderedJson& special_tokens);
  // What Parse takes as `special_tokens`, of the model at `path` ({} when it names none).
  static OrderedJson LoadSpecialTokens(const std::filesystem::path& path);
  virtual ~ChatTemplate() = default;
  // Throws UserError "NAME: line N: cause" (an undefined name in a strict place, raise_exception, a type error, more than 10^7 steps).
  virtual std::string Render(const TemplateInput& input) const = 0;
};

}  // namespace fathom
