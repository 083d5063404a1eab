#include "cli/program_run.h"
#include "places.h"

#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>
#include <utility>

namespace fathom {
namespace {

constexpr int kDeadlineMs = 240'000;

[[noreturn]] void Execute(const std::vector<std::string>& args, const std::vector<std::string>& environment) {
  ::unsetenv("FATHOM_MODEL");
  ::setenv("OMP_NUM_THREADS", "1", 1);
  ::setenv("TERM", "xterm", 1);
  ::unsetenv("NO_COLOR");
  for (const std::string& variable : environment) ::putenv(::strdup(variable.c_str()));
  std::vector<char*> argv = {::strdup("fathom")};
  for (const std::string& arg : args) argv.push_back(::strdup(arg.c_str()));
  argv.push_back(nullptr);
  ::execv((BinaryFolder() / "fathom").c_str(), argv.data());
  ::_exit(127);
}

int ExitCode(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

}  // namespace

RunResult RunFathom(const std::vector<std::string>& args, const std::string& input, const std::vector<std::string>& environment) {
  std::string folder = (std::filesystem::temp_directory_path() / "fathom-run-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) throw std::runtime_error("mkdtemp");
  std::ofstream(folder + "/in", std::ios::binary) << input;
  std::fflush(nullptr);  // the child must not print again what waits here
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (!std::freopen((folder + "/in").c_str(), "r", stdin) || !std::freopen((folder + "/out").c_str(), "w", stdout) ||
        !std::freopen((folder + "/err").c_str(), "w", stderr)) {
      ::_exit(126);
    }
    Execute(args, environment);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  const auto read = [&](const char* name) {
    std::ifstream file(folder + name, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  RunResult result{ExitCode(status), read("/out"), read("/err")};
  std::filesystem::remove_all(folder);
  return result;
}

RunningFathom::RunningFathom(const std::vector<std::string>& args, bool at_terminal) {
  if (at_terminal) {
    std::fflush(nullptr);
    pid_ = ::forkpty(&in_, nullptr, nullptr, nullptr);
    if (pid_ == 0) Execute(args, {});
    out_ = in_;
    return;
  }
  int to_child[2], from_child[2];
  if (::pipe(to_child) != 0 || ::pipe(from_child) != 0) throw std::runtime_error("pipe");
  std::fflush(nullptr);
  pid_ = ::fork();
  if (pid_ == 0) {
    ::dup2(to_child[0], 0);
    ::dup2(from_child[1], 1);
    for (const int fd : {to_child[0], to_child[1], from_child[0], from_child[1]}) ::close(fd);
    if (!std::freopen("/dev/null", "w", stderr)) ::_exit(126);
    Execute(args, {});
  }
  ::close(to_child[0]);
  ::close(from_child[1]);
  in_ = to_child[1];
  out_ = from_child[0];
}

RunningFathom::~RunningFathom() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  if (in_ != out_) ::close(in_);
  ::close(out_);
}

void RunningFathom::Write(const std::string& text) {
  if (::write(in_, text.data(), text.size()) != static_cast<ssize_t>(text.size())) throw std::runtime_error("write");
}

void RunningFathom::Signal(int number) { ::kill(pid_, number); }

bool RunningFathom::ReadMore() {
  pollfd wait{out_, POLLIN, 0};
  char buffer[4096];
  if (::poll(&wait, 1, kDeadlineMs) <= 0) throw std::runtime_error("no output within four minutes; so far: " + pending_);
  const ssize_t got = ::read(out_, buffer, sizeof buffer);
  if (got <= 0) return false;  // the end (a closed pseudo-terminal is an error)
  pending_.append(buffer, static_cast<size_t>(got));
  return true;
}

std::string RunningFathom::ReadUntil(const std::string& text) {
  while (true) {
    if (const size_t at = pending_.find(text); !text.empty() && at != std::string::npos) {
      const std::string seen = pending_.substr(0, at + text.size());
      pending_.erase(0, at + text.size());
      return seen;
    }
    if (!ReadMore()) return std::exchange(pending_, {});
  }
}

std::string RunningFathom::ReadSome() {
  if (pending_.empty()) ReadMore();
  return std::exchange(pending_, {});
}

void RunningFathom::WaitUntilItBlocks() {
  const auto unread = [&] {
    int count = 0;
    if (::ioctl(out_, FIONREAD, &count) != 0) throw std::runtime_error("FIONREAD");
    return count;
  };
  for (int before = 0, now; (now = unread()) == 0 || now != before; before = now) std::this_thread::sleep_for(std::chrono::milliseconds(200));
}

int RunningFathom::Wait() {
  rest_ = ReadUntil("");
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = -1;
  return ExitCode(status);
}

}  // namespace fathom
