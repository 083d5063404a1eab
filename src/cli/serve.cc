// fathom serve: the model behind HTTP, for clients of OpenAI's and llama.cpp's servers.
#include <CLI/CLI.hpp>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "cli/arguments.h"
#include "cli/compute_device.h"
#include "cli/interrupt.h"
#include "cli/program.h"
#include "cli/verb_options.h"
#include "cli/verbs.h"
#include "cli/version.h"
#include "engine/catalogue.h"
#include "engine/loading.h"
#include "serve/server.h"

namespace fathom {
namespace {

struct ServeFlags {
  ServeOptions options;
  std::string api_key_file, access_log = "-";
  int64_t port = 8000, http_threads = 2, max_body_mb = 16, max_connections = 4096;
  bool no_prefix_cache = false;
  std::string session_file;
  SessionOptions sessions;
};

// Keys of --api-key, of the lines of --api-key-file, and of FATHOM_API_KEY.
std::vector<std::string> CollectKeys(const ServeFlags& flags) {
  std::vector<std::string> keys = flags.options.service.api_keys;
  if (const char* from_environment = std::getenv("FATHOM_API_KEY"); from_environment != nullptr && *from_environment != '\0') keys.emplace_back(from_environment);
  if (!flags.api_key_file.empty()) {
    std::string line;
    const size_t before = keys.size();
    for (const char c : ReadFile(flags.api_key_file) + "\n") {
      if (c != '\n' && c != '\r') {
        line += c;
      } else if (!line.empty()) {
        keys.push_back(std::exchange(line, {}));
      }
    }
    FATHOM_USER_CHECK(keys.size() > before, "--api-key-file {}: holds no key (one a line)", flags.api_key_file);
  }
  for (const std::string& key : keys) FATHOM_USER_CHECK(!key.empty(), "--api-key must not be empty, got ''");
  return keys;
}

// Where the access log goes: "-" stderr, "off" nowhere, else a file that is appended to.
std::function<void(const ExchangeRecord&)> OpenAccessLog(const std::string& target) {
  if (target == "off") return {};
  auto mutex = std::make_shared<std::mutex>();
  std::shared_ptr<std::FILE> file(stderr, [](std::FILE*) {});
  if (target != "-") {
    file = std::shared_ptr<std::FILE>(std::fopen(target.c_str(), "a"), [](std::FILE* f) {
      if (f != nullptr) std::fclose(f);
    });
    FATHOM_USER_CHECK(file != nullptr, "--access-log {}: cannot be written", target);
  }
  return [mutex, file](const ExchangeRecord& record) {
    const std::string line = AccessLogLine(record) + "\n";
    const std::lock_guard lock(*mutex);
    std::fputs(line.c_str(), file.get());
    std::fflush(file.get());
  };
}

int RunServe(const ServeFlags& flags, const CommonOptions& common) {
  ServeOptions options = flags.options;
  options.service.api_keys = CollectKeys(flags);
  if (!flags.session_file.empty()) {
    options.service.sessions = flags.sessions;
    options.service.sessions->file = flags.session_file;
  }
  options.http.port = static_cast<int>(flags.port);
  options.http.num_threads = static_cast<int>(flags.http_threads);
  options.http.most_body_bytes = static_cast<size_t>(flags.max_body_mb) << 20;
  options.http.most_connections = flags.max_connections;
  options.http.on_exchange = OpenAccessLog(flags.access_log);
  options.reuse_prefixes = !flags.no_prefix_cache;
  options.compute_threads = common.threads;
  options.version = Version();
  const bool is_public = options.http.host != "127.0.0.1" && options.http.host != "localhost" && options.http.host != "::1";
  const LoadedCheckpoint model = LoadForGeneration(ResolveModelPath(common.model), LoadOptionsOf(common));
  InterruptGuard guard;
  Serve(model, options, InterruptGuard::Interrupted, [&](const ServeStarted& started) {
    std::printf("%s at %s: %ld tokens of context, a cache of %ld\n", started.name.c_str(), started.url.c_str(), started.max_model_len, started.cache_tokens);
    std::fflush(stdout);
    if (is_public && options.service.api_keys.empty()) LogWarn("--host {} without an --api-key: everybody who reaches this machine may use the model", options.http.host);
  });
  return kExitDone;
}

}  // namespace

VerbFunction AddServe(CLI::App& app, CommonOptions& common) {
  auto flags = std::make_shared<ServeFlags>();
  ServeOptions& options = flags->options;
  CLI::App* verb = app.add_subcommand("serve", "an HTTP server for many users that OpenAI's clients can talk to");
  AddText(*verb, "--host", options.http.host, "the address to listen on (127.0.0.1)")->type_name("A");
  AddInteger(*verb, "--port", flags->port, "the port, 0 for any free one (8000)", 0, 65535);
  AddTexts(*verb, "--api-key", options.service.api_keys, "only requests with one of these keys are answered (also FATHOM_API_KEY)")->type_name("KEY");
  AddText(*verb, "--api-key-file", flags->api_key_file, "a file with a key a line")->type_name("F");
  AddTexts(*verb, "--served-model-name", options.names, "the model's name in the API (its file's name)")->type_name("NAME");
  AddInteger(*verb, "--max-model-len", options.max_model_len, "tokens of a prompt and its answer (the model's context)", 1);
  AddInteger(*verb, "--max-num-seqs", options.max_num_seqs, "answers that are generated side by side (128)", 1, 4096);
  AddInteger(*verb, "--max-num-batched-tokens", options.tokens_per_step, "tokens of one step, of prompts and answers together (512)", 16, 1 << 20);
  AddInteger(*verb, "--max-queue", options.max_waiting, "requests that may wait; more get 429 (1024)", 0);
  AddNumber(*verb, "--memory-fraction", options.memory_fraction, "of the free memory, for the cache of keys and values (0.4)", {.least = 0, .most = 1, .above = true});
  AddSwitch(*verb, "--no-prefix-cache", flags->no_prefix_cache, "run every prompt whole, also where it begins like one before");
  AddInteger(*verb, "--speculate", options.num_drafts, "guess so many tokens a step from the text so far; the answers stay the same (0: off)", 0, 15);
  AddSwitch(*verb, "--speculate-mtp", options.use_mtp, "guess a token a step with the model's MTP module (DeepSeek-V3); the answers stay the same");
  AddText(*verb, "--sessions", flags->session_file, "keep conversations of requests with a session_id in this file (SQLite)")->type_name("F");
  AddInteger(*verb, "--session-turns", flags->sessions.max_turns, "the last turns that a session keeps (5)", 1, 1000);
  AddNumber(*verb, "--session-expiry", flags->sessions.expiry_seconds, "seconds after its last turn until a session is forgotten (86400)", {.least = 0, .above = true});
  AddInteger(*verb, "--http-threads", flags->http_threads, "threads for connections (2)", 1, 64);
  AddInteger(*verb, "--max-body-mb", flags->max_body_mb, "of a request (16)", 1, 1024);
  AddInteger(*verb, "--max-connections", flags->max_connections, "open at once (4096)", 1, 1 << 20);
  AddText(*verb, "--cors-origin", options.service.cors_origin, "web pages that may call it: an origin, * for all, '' for none (*)")->type_name("O");
  AddText(*verb, "--access-log", flags->access_log, "a file, - for stderr, off (-)")->type_name("F");
  AddNumber(*verb, "--drain-seconds", options.drain_seconds, "for answers under way when it is told to end (30)", {.least = 0, .most = 86400});
  AddCommonOptions(*verb, common, kModelFlag | kCacheFlag);
  verb->footer(
      "The port is bound when the model can answer. SIGTERM and Ctrl-C end it when the answers under way are done.\n"
      "Examples:\n"
      "  fathom serve --port 8000\n"
      "  fathom serve --model DIR --host 0.0.0.0 --api-key-file keys.txt --max-num-seqs 64\n"
      "  curl http://127.0.0.1:8000/v1/chat/completions -d '{\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'");
  return [flags, &common] { return RunServe(*flags, common); };
}

}  // namespace fathom
