#include "cli/program.h"

#include <CLI/CLI.hpp>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/interrupted.h"
#include "base/log.h"
#include "base/nearest_name.h"
#include "cli/arguments.h"
#include "cli/compute_device.h"
#include "cli/verbs.h"
#include "cli/version.h"

namespace fathom {
namespace {

// The first line of a message, without control characters: errors are one line.
std::string OneLine(std::string message) {
  message.erase(message.find_last_not_of(" \n\r\t") + 1);
  for (char& c : message) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return message;
}

int Fail(int code, const std::string& message) {
  std::fflush(stdout);
  std::fprintf(stderr, "error: %s\n", OneLine(message).c_str());
  return code;
}

void PrintOverview() {
  CommonOptions common;
  std::printf("fathom %s: DeepSeek-family models on your own machine\n\nusage: fathom VERB [options]\n\n", Version());
  for (const Verb& verb : Verbs()) {
    CLI::App app;
    verb.add(app, common);
    std::printf("  %-10s %s\n", verb.name, app.get_subcommand(verb.name)->get_description().c_str());
  }
  std::printf(
      "\n`fathom VERB --help` shows a verb's options and examples; `fathom --version` the version.\n"
      "A model is a folder in Hugging Face's layout, a .gguf file or a name that `fathom models` lists.\n");
}

const Verb& FindVerb(const std::string& name) {
  FATHOM_USER_CHECK(name.empty() || name[0] != '-', "the verb comes first, got '{}'; `fathom help` lists the verbs", name);
  std::vector<std::string> names;
  for (const Verb& verb : Verbs()) {
    if (name == verb.name) return verb;
    names.push_back(verb.name);
  }
  const std::string nearest = NearestName(name, names);
  ThrowUserError("unknown verb '{}'{}; `fathom help` lists the verbs", name,
                 nearest.empty() ? "" : fmt::format(" (did you mean '{}'?)", nearest));
}

int RunVerb(const Verb& verb, std::vector<std::string> args) {
  CommonOptions common;
  CLI::App app;
  app.name("fathom");
  const VerbFunction run = verb.add(app, common);
  CLI::App* subcommand = app.get_subcommand(verb.name);
  subcommand->get_formatter()->column_width(34);
  if (AsksForHelp(args, *subcommand)) {
    std::fputs(subcommand->help("fathom").c_str(), stdout);
    return kExitDone;
  }
  args = NormalizeArguments(std::move(args), *subcommand);
  args.insert(args.begin(), verb.name);
  std::reverse(args.begin(), args.end());  // what CLI11 asks for
  app.parse(args);
  SetLogLevel(common.log_level);
  PrepareCompute(common);
  const int code = run();
  FATHOM_CHECK(code >= 0 && code < 256, "exit code {}", code);
  return code;
}

int Run(const std::vector<std::string>& args) {
  FATHOM_USER_CHECK(!args.empty(), "a verb is missing; `fathom help` lists the verbs");
  if (args[0] == "--version") {
    std::printf("fathom %s\n", Version());
    return kExitDone;
  }
  if (args[0] == "help" || args[0] == "--help" || args[0] == "-h") {
    if (args.size() > 1) return RunVerb(FindVerb(args[1]), {"--help"});
    PrintOverview();
    return kExitDone;
  }
  return RunVerb(FindVerb(args[0]), {args.begin() + 1, args.end()});
}

// What stands between the first `before` and the next `after`; "" where one of them is not there.
std::string Between(const std::string& text, const std::string& before, const std::string& after) {
  const size_t start = text.find(before);
  if (start == std::string::npos) return "";
  const size_t end = text.find(after, start + before.size());
  return end == std::string::npos ? "" : text.substr(start + before.size(), end - start - before.size());
}

int FailFromLibTorch(const c10::Error& error) {
  std::string message = error.what_without_backtrace();
  const bool no_memory = dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr ||
                         message.find("can't allocate memory") != std::string::npos;
  if (no_memory) {
    // On a GPU: "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 139.80 GiB of which 1.20 GiB is free. ..."
    const std::string asked = Between(message, "Tried to allocate ", ". "), free = Between(message, "of which ", " is free");
    if (!asked.empty() && !free.empty()) {
      return Fail(kExitMachine, fmt::format("not enough memory on the GPU: {} asked, {} free; fewer or shorter sequences take less, and --gpu-layers N or "
                                            "--cpu-moe keeps weights on the CPU", asked, free));
    }
    const auto start = message.find("you tried to allocate");
    const auto end = message.find(" bytes", start);
    return Fail(kExitMachine, start == std::string::npos || end == std::string::npos
                                  ? "not enough memory on the device"
                                  : "not enough memory: " + message.substr(start + 4, end + 6 - start - 4));
  }
  return Fail(kExitMachine, "internal: " + message.substr(0, message.find('\n')));
}

}  // namespace

int RunProgram(int argc, char** argv) {
  try {
    const int code = Run({argv + 1, argv + argc});
    errno = 0;
    if (std::fflush(stdout) != 0 || std::ferror(stdout)) {
      ThrowMachineError("cannot write to standard output: {}", errno ? std::strerror(errno) : "an earlier write failed");
    }
    return code;
  } catch (const Interrupted& e) {
    std::fprintf(stderr, "%s\n", OneLine(e.what()).c_str());
    return kExitInterrupted;
  } catch (const UserError& e) {
    return Fail(kExitUser, e.what());
  } catch (const MachineError& e) {
    return Fail(kExitMachine, e.what());
  } catch (const CLI::ParseError& e) {
    return Fail(kExitUser, e.what());
  } catch (const c10::Error& e) {
    return FailFromLibTorch(e);
  } catch (const std::bad_alloc&) {
    return Fail(kExitMachine, "not enough memory");
  } catch (const std::exception& e) {
    return Fail(kExitMachine, std::string("internal: ") + e.what());
  }
}

}  // namespace fathom
