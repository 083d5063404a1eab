// The verbs of the program. Each stands in a file of its own: it adds its subcommand to the app and gives the function that runs it.
//
//   VerbFunction AddTokenize(CLI::App& app, CommonOptions& common) {
//     auto flags = std::make_shared<TokenizeFlags>();
//     CLI::App* verb = app.add_subcommand("tokenize", "text to token ids and back");
//     AddCommonOptions(*verb, common, kModelFlag | kJsonFlag);      // cli/verb_options.h
//     AddText(*verb, "--text", flags->text, "the text");            // cli/arguments.h
//     verb->footer("Examples:\n  fathom tokenize --text 'Hello'");
//     return [flags, &common] { return RunTokenize(*flags, common); };
//   }
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace fathom {

// Options that every verb takes (cli.md: --device --gpu-layers --cpu-moe --dtype --threads --seed --log-level, and --json --model where a verb uses them).
struct CommonOptions {
  std::string model;
  std::string device = "auto";
  std::string dtype = "auto";
  int64_t gpu_layers = -1;  // -1: every layer
  bool cpu_moe = false;
  std::string kv_cache_dtype = "auto";
  int threads = 0;  // 0: all cores
  uint64_t seed = 0;
  bool seed_given = false;
  std::string log_level = "warn";
  bool json = false;
};

// Adds the verb to `app`; the returned function runs it after parsing (exit code; throws UserError, MachineError).
using VerbFunction = std::function<int()>;
struct Verb {
  const char* name;
  VerbFunction (*add)(CLI::App& app, CommonOptions& common);
};

// In the order of help. The one list of verbs: src/cli/verbs.cc.
const std::vector<Verb>& Verbs();

}  // namespace fathom
