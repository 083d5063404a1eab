// JSON Schemas, regular expressions and EBNF as they come with requests: converted, compiled for a vocabulary of bytes, and walked for some tokens. The first
// byte says which. A text that a schema's grammar lets whole must be JSON.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "engine/grammar.h"
#include "engine/regex_grammar.h"
#include "engine/schema_grammar.h"

namespace fathom {
namespace {

class Bytes : public Tokenizer {
 public:
  std::vector<int32_t> Encode(std::string_view text, const EncodeOptions&) const override { return {text.begin(), text.end()}; }
  std::string Decode(std::span<const int32_t> ids, bool) const override { return {ids.begin(), ids.end()}; }
  std::string TokenBytes(int32_t id) const override { return std::string(1, static_cast<char>(id)); }
  bool IsSpecial(int32_t) const override { return false; }
  int64_t vocab_size() const override { return 256; }
  int32_t TokenToId(std::string_view) const override { return -1; }
  int32_t bos_id() const override { return -1; }
  int32_t eos_id() const override { return -1; }
  bool adds_bos() const override { return false; }
};

void Walk(const std::shared_ptr<const Grammar>& grammar, uint64_t seed, bool is_json) {
  GrammarMatcher matcher(grammar);
  std::vector<uint32_t> mask(8);
  std::string text;
  for (int step = 0; step < 40; ++step) {
    if (is_json && matcher.MayEnd() && !Json::accept(text)) FailCheck(__FILE__, __LINE__, "JSON", text);
    if (!matcher.FillMask(mask)) return;
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    int32_t token = static_cast<int32_t>(seed >> 56);
    while ((mask[static_cast<size_t>(token / 32)] >> (token % 32) & 1) == 0) token = (token + 1) % 256;
    if (!matcher.Accept(token)) FailCheck(__FILE__, __LINE__, "a token of the mask is accepted", text);
    text += static_cast<char>(token);
  }
  matcher.Rollback(static_cast<int64_t>(text.size()));
}

void Try(std::string_view input) {
  static GrammarCompiler compiler(Bytes(), 256, {}, {.most_text_bytes = 64 << 10, .most_cpu_s = 0.1, .most_bytes = 64 << 20, .most_cached_bytes = 1});
  const char kind = input[0];
  const std::string text(input.substr(1));
  const uint64_t seed = text.size() * 0x9E3779B97F4A7C15u;
  if (kind == 's') {
    EbnfWriter writer;
    const std::string root = SchemaToEbnf(ParseOrderedJson(text, "schema"), writer, "schema");
    Walk(compiler.Compile({writer.Text(root)}), seed, true);
  } else if (kind == 'r') {
    Walk(compiler.Compile({"root ::= " + RegexToEbnf(text, RegexPlace::kText, "regex") + "\n"}), seed, false);
    Walk(compiler.Compile({"root ::= \"\\\"\" (" + RegexToEbnf(text, RegexPlace::kJsonString, "regex") + ") \"\\\"\"\n"}), seed, true);
  } else {
    Walk(compiler.Compile({text}), seed, false);
  }
}

}  // namespace
}  // namespace fathom

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0 || size > 4096) return 0;
  try {
    fathom::Try({reinterpret_cast<const char*>(data), size});
  } catch (const fathom::UserError&) {
  }
  return 0;
}
