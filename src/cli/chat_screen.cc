#include "cli/chat_screen.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace fathom {
namespace {

constexpr char kDim[] = "\033[2m", kRed[] = "\033[31m", kReset[] = "\033[0m";

}  // namespace

bool TerminalShowsColours() {
  const char* terminal = std::getenv("TERM");
  const char* no_colour = std::getenv("NO_COLOR");
  return isatty(STDOUT_FILENO) && terminal != nullptr && std::strcmp(terminal, "dumb") != 0 && (no_colour == nullptr || *no_colour == '\0');
}

std::string ChatScreen::UserPrompt() const { return ">>> "; }

void ChatScreen::Note(const std::string& text) const {
  std::fflush(stdout);
  std::fprintf(stderr, "%s%s%s\n", colours_ ? kDim : "", text.c_str(), colours_ ? kReset : "");
}

void ChatScreen::Error(const std::string& text) const {
  std::fflush(stdout);
  std::fprintf(stderr, "%serror: %s%s\n", colours_ ? kRed : "", text.c_str(), colours_ ? kReset : "");
}

void ChatScreen::SetThinking(bool on) {
  if (on == thinking_) return;
  thinking_ = on;
  if (colours_) std::fputs(on ? kDim : kReset, stdout);
}

void ChatScreen::BeginAnswer(bool thinking) {
  last_.clear();
  thinking_ = false;
  SetThinking(thinking);
}

void ChatScreen::Piece(const std::string& text) {
  const std::string seen = last_ + text;
  if (seen.find("<think>") != std::string::npos) SetThinking(true);
  std::fputs(text.c_str(), stdout);
  if (seen.find("</think>") != std::string::npos) SetThinking(false);
  last_ = seen.substr(seen.size() - std::min<size_t>(seen.size(), 7));
  std::fflush(stdout);
}

void ChatScreen::EndAnswer() {
  SetThinking(false);
  std::fputs("\n", stdout);
  std::fflush(stdout);
}

}  // namespace fathom
