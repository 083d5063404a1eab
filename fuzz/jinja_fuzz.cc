// A template of any bytes over a fixed conversation: it renders, or ends with a UserError.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/error.h"
#include "base/json.h"
#include "text/jinja/template.h"

// A loop over nothing new, ten million steps long, would be most of the time.
constexpr int64_t kMaxSteps = 10'000;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fathom::OrderedJson variables = fathom::ParseOrderedJson(R"({
    "messages": [{"role": "user", "content": "Hi \u4e16"}, {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"a": [1, 2.5]}}}]}],
    "tools": null, "add_generation_prompt": true, "bos_token": "<s>", "a": 3, "b": -2.5, "s": "text, more text", "l": [3, "x", [1]], "d": {"k": {"v": 1}}})",
                                                                        "variables");
  try {
    fathom::jinja::Template(std::string(reinterpret_cast<const char*>(data), size), "fuzz").Render(variables, kMaxSteps);
  } catch (const fathom::UserError&) {
  }
  return 0;
}
