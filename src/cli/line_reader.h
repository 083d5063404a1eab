// Lines of a conversation: from a terminal with editing and history, or from a pipe.
#pragma once

#include <memory>
#include <optional>
#include <string>

namespace fathom {

class LineReader {
 public:
  virtual ~LineReader() = default;
  enum class Result { kLine, kEnd, kInterrupted };
  // The next line without its line break. kInterrupted: Ctrl-C came while waiting, what was typed is dropped.
  virtual Result Read(const std::string& prompt, std::string& line) = 0;
};

// Editing, history with the arrow keys. UTF-8.
std::unique_ptr<LineReader> MakeTerminalLineReader();
// Lines of stdin; prompts are not shown.
std::unique_ptr<LineReader> MakePipeLineReader();

// One message, which may have several lines: a line that ends in `\` goes on with the next one; a line that begins with `"""` begins a text that ends with
// the next `"""`.
LineReader::Result ReadMessage(LineReader& reader, const std::string& prompt, std::string& message);

}  // namespace fathom
