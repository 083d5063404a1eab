// Any bytes as a chat answer, cut in two places: the events are the same as of the whole. The first byte has the options and the cuts.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

#include "serve/chat_output.h"

namespace {

std::string Joined(const fathom::ChatOutputOptions& options, std::string_view text, size_t first, size_t second) {
  fathom::ChatOutput output(options);
  std::string joined;
  fathom::OutputEvent::Kind last = fathom::OutputEvent::kContent;
  const auto take = [&](const std::vector<fathom::OutputEvent>& events) {
    for (const fathom::OutputEvent& event : events) {
      if (event.kind != last || event.kind == fathom::OutputEvent::kToolCall) joined += "\n#" + std::to_string(event.kind) + "#";
      joined += event.text;
      last = event.kind;
    }
  };
  take(output.Push(text.substr(0, first)));
  take(output.Push(text.substr(first, second - first)));
  take(output.Push(text.substr(second)));
  take(output.Finish());
  return joined;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 3, size - 3);
  const fathom::ChatOutputOptions options{.reasoning = (data[0] & 1) != 0, .starts_in_reasoning = (data[0] & 3) == 3, .tools = (data[0] & 4) != 0};
  size_t first = data[1] % (text.size() + 1), second = data[2] % (text.size() + 1);
  if (first > second) std::swap(first, second);
  if (Joined(options, text, first, second) != Joined(options, text, text.size(), text.size())) std::abort();
  return 0;
}
