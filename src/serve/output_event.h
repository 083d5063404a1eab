// What an answer's text is made of, piece by piece.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fathom {

struct OutputEvent {
  enum Kind { kContent, kReasoning, kToolCall, kToolArguments };
  Kind kind = kContent;
  std::string text = {};     // of content or reasoning, a tool's name, or a piece of its arguments (JSON)
  int64_t tool_index = 0;    // of the tool call within the answer
  std::string tool_id = {};  // with kToolCall
};

}  // namespace fathom
