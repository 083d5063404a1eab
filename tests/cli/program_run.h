// Runs the real binary: with pipes, or at a terminal of its own.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace fathom {

struct RunResult {
  int code = -1;  // exit code, or 128 + signal
  std::string out, err;
};

// build/fathom with `args`; `input` is its stdin. FATHOM_MODEL and LibTorch's threads are as `environment` ("NAME=value") says.
RunResult RunFathom(const std::vector<std::string>& args, const std::string& input = "", const std::vector<std::string>& environment = {});

// The program while it runs. Every wait ends after four minutes: the test then fails.
class RunningFathom {
 public:
  // `at_terminal`: stdin, stdout and stderr are one pseudo-terminal; else pipes, and stderr is dropped.
  RunningFathom(const std::vector<std::string>& args, bool at_terminal);
  ~RunningFathom();
  RunningFathom(const RunningFathom&) = delete;
  RunningFathom& operator=(const RunningFathom&) = delete;

  void Write(const std::string& text);
  void Signal(int number);
  // Reads until the output since the last call holds `text` (all of it is given back), or ends.
  std::string ReadUntil(const std::string& text);
  // Waits until the program's output has filled what lies between it and this reader: it is then blocked in a write.
  void WaitUntilItBlocks();
  // What has come, at least one byte unless the output has ended.
  std::string ReadSome();
  // Reads to the end; the exit code (128 + signal).
  int Wait();
  const std::string& rest() const { return rest_; }  // what Wait read

 private:
  bool ReadMore();  // appends to pending_; false at the end of the output
  pid_t pid_ = -1;
  int in_ = -1, out_ = -1;
  std::string pending_, rest_;
};

}  // namespace fathom
