// What a conversation looks like: colours on a terminal only, thinking dimmed.
#pragma once

#include <string>

namespace fathom {

class ChatScreen {
 public:
  // `colours`: the output is a terminal that shows them.
  explicit ChatScreen(bool colours) : colours_(colours) {}

  std::string UserPrompt() const;
  void Note(const std::string& text) const;   // of the program, on stderr
  void Error(const std::string& text) const;  // one line, on stderr
  void BeginAnswer(bool thinking);
  void Piece(const std::string& text);        // of the answer, on stdout
  void EndAnswer();

 private:
  void SetThinking(bool on);
  bool colours_;
  bool thinking_ = false;
  std::string last_;  // the end of what was shown: a tag may come in pieces
};

// Whether stdout is a terminal that wants colours (NO_COLOR and TERM=dumb are heeded).
bool TerminalShowsColours();

}  // namespace fathom
