// Any bytes as the body of a request: the first picks the endpoint. It is read, or refused with an error of the 400s.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "base/error.h"
#include "base/log.h"
#include "engine/engine.h"
#include "serve/anthropic.h"
#include "serve/api_error.h"
#include "serve/generation_call.h"

namespace {

class NoRunner : public fathom::StepRunner {
 public:
  int64_t vocab_size() const override { return 256; }
  int64_t num_pages() const override { return 16; }
  at::Tensor Run(std::span<const Item>) override { return {}; }
  std::vector<float> Embed(std::span<const int32_t>, fathom::Pooling) override { return {1.0f}; }
};

class Bytes : public fathom::Tokenizer {
 public:
  std::vector<int32_t> Encode(std::string_view text, const fathom::EncodeOptions&) const override {
    std::vector<int32_t> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string Decode(std::span<const int32_t> ids, bool) const override { return std::string(ids.begin(), ids.end()); }
  std::string TokenBytes(int32_t id) const override { return std::string(1, static_cast<char>(id)); }
  bool IsSpecial(int32_t) const override { return false; }
  int64_t vocab_size() const override { return 256; }
  int32_t TokenToId(std::string_view text) const override { return text.substr(0, 5) == "<fim_" ? text[5] : -1; }
  int32_t bos_id() const override { return -1; }
  int32_t eos_id() const override { return 0; }
  bool adds_bos() const override { return false; }
};

constexpr const char* kTemplate =
    "{% for m in messages %}{{ m.role }}:{{ m.content }}{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}\n{% endfor %}{{ tools | tojson if tools }}";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // Never destroyed: a template must not outlive its thread's variables.
  static const auto& model = *[] {
    fathom::SetLogLevel("off");
    auto* engine = new fathom::Engine(std::make_unique<NoRunner>(), nullptr, {.context_length = 1024});
    return new fathom::ServedModel{.names = {"m"}, .path = "m", .engine = engine, .tokenizer = std::make_shared<Bytes>(),
                               .chat_template = fathom::ChatTemplate::Parse(kTemplate, "fuzz", fathom::OrderedJson::object()), .max_model_len = 1024, .version = "1"};
  }();
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    const fathom::OrderedJson body = fathom::ParseBody(text);
    switch (data[0] % 6) {
      case 0: fathom::ReadChatCall(body, model); break;
      case 1: fathom::ReadCompletionCall(body, model); break;
      case 2: fathom::ReadLlamaCall(body, model); break;
      case 3: fathom::ReadInfillCall(body, model); break;
      case 4: fathom::ReadMessagesCall(body, model, false); break;
      default: fathom::ReadGenerateCall(body, model); break;
    }
  } catch (const std::exception& error) {
    if (fathom::ToApiError(error).status() >= 500) std::abort();
  }
  return 0;
}
