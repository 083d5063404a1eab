#include "cli/line_reader.h"

#include <histedit.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cwchar>

#include "cli/interrupt.h"

namespace fathom {
namespace {

constexpr char kFence[] = "\"\"\"";

// Waits for input without missing a signal between looking at the flag and waiting. False: Ctrl-C came.
bool WaitForInput() {
  sigset_t signals, before;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, &before);
  pollfd wait{STDIN_FILENO, POLLIN, 0};
  while (!InterruptGuard::Interrupted() && ::ppoll(&wait, 1, nullptr, &before) < 0 && errno == EINTR) {
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return !InterruptGuard::Interrupted();
}

class TerminalLineReader : public LineReader {
 public:
  TerminalLineReader() : edit_(el_init("fathom", stdin, stdout, stderr)), history_(history_init()) {
    // Characters of more than one byte are one column step only in a UTF-8 locale.
    if (std::setlocale(LC_CTYPE, "") == nullptr || MB_CUR_MAX == 1) std::setlocale(LC_CTYPE, "C.UTF-8");
    HistEvent event;
    history(history_, &event, H_SETSIZE, 500);
    history(history_, &event, H_SETUNIQUE, 1);
    el_set(edit_, EL_CLIENTDATA, this);
    el_set(edit_, EL_PROMPT, &Prompt);
    el_set(edit_, EL_EDITOR, "emacs");
    el_set(edit_, EL_HIST, history, history_);
    el_set(edit_, EL_GETCFN, &ReadCharacter);
    el_set(edit_, EL_BIND, "^R", "em-inc-search-prev", nullptr);
  }
  ~TerminalLineReader() override {
    history_end(history_);
    el_end(edit_);
  }

  Result Read(const std::string& prompt, std::string& line) override {
    prompt_ = prompt;
    interrupted_ = false;
    int length = 0;
    const char* text = el_gets(edit_, &length);
    if (interrupted_) {
      InterruptGuard::Clear();
      return Result::kInterrupted;
    }
    if (text == nullptr || length <= 0) return Result::kEnd;
    line.assign(text, static_cast<size_t>(length));
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
    HistEvent event;
    if (!line.empty()) history(history_, &event, H_ENTER, line.c_str());
    return Result::kLine;
  }

 private:
  static TerminalLineReader* Self(EditLine* edit) {
    void* self = nullptr;
    el_get(edit, EL_CLIENTDATA, &self);
    return static_cast<TerminalLineReader*>(self);
  }
  static char* Prompt(EditLine* edit) { return Self(edit)->prompt_.data(); }

  // One character of the terminal. Ctrl-C ends the line, which is then dropped.
  static int ReadCharacter(EditLine* edit, wchar_t* character) {
    std::mbstate_t state{};
    while (true) {
      if (!WaitForInput()) {
        Self(edit)->interrupted_ = true;
        *character = L'\n';
        return 1;
      }
      char byte;
      const ssize_t got = ::read(STDIN_FILENO, &byte, 1);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return static_cast<int>(got);
      const size_t size = std::mbrtowc(character, &byte, 1, &state);
      if (size == static_cast<size_t>(-2)) continue;  // the character has more bytes
      if (size == static_cast<size_t>(-1)) {
        state = {};
        continue;
      }
      return 1;
    }
  }

  EditLine* edit_;
  History* history_;
  std::string prompt_;
  bool interrupted_ = false;
};

class PipeLineReader : public LineReader {
 public:
  Result Read(const std::string& /*prompt*/, std::string& line) override {
    size_t searched = 0, end;
    while ((end = pending_.find('\n', searched)) == std::string::npos) {
      searched = pending_.size();
      if (!WaitForInput()) return Result::kInterrupted;
      char buffer[4096];
      const ssize_t got = ::read(STDIN_FILENO, buffer, sizeof buffer);
      if (got <= 0 && pending_.empty()) return Result::kEnd;
      if (got <= 0) pending_ += '\n';  // the last line may lack it
      else pending_.append(buffer, static_cast<size_t>(got));
    }
    line = pending_.substr(0, end);
    pending_.erase(0, end + 1);
    if (!line.empty() && line.back() == '\r') line.pop_back();
    return Result::kLine;
  }

 private:
  std::string pending_;  // read, not yet given
};

}  // namespace

std::unique_ptr<LineReader> MakeTerminalLineReader() { return std::make_unique<TerminalLineReader>(); }
std::unique_ptr<LineReader> MakePipeLineReader() { return std::make_unique<PipeLineReader>(); }

LineReader::Result ReadMessage(LineReader& reader, const std::string& prompt, std::string& message) {
  using Result = LineReader::Result;
  const std::string more = "... ";
  std::string line;
  if (const Result result = reader.Read(prompt, line); result != Result::kLine) return result;
  if (line.rfind(kFence, 0) == 0) {
    message = line.substr(3);
    while (message.find(kFence) == std::string::npos) {
      const Result result = reader.Read(more, line);
      if (result == Result::kInterrupted) return result;
      if (result == Result::kEnd) return Result::kLine;  // what there is
      message += (message.empty() ? "" : "\n") + line;
    }
    message.erase(message.find(kFence));
    return Result::kLine;
  }
  message.clear();
  while (!line.empty() && line.back() == '\\') {
    message += line.substr(0, line.size() - 1) + "\n";
    const Result result = reader.Read(more, line);
    if (result == Result::kInterrupted) return result;
    if (result == Result::kEnd) line.clear();
  }
  message += line;
  return Result::kLine;
}

}  // namespace fathom
