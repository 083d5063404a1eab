// fathom score: how likely a text is to a model.
#include <CLI/CLI.hpp>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "checkpoint/save_tensors.h"
#include "cli/arguments.h"
#include "cli/compute_device.h"
#include "cli/interrupt.h"
#include "cli/json_output.h"
#include "cli/program.h"
#include "cli/verb_options.h"
#include "cli/verbs.h"
#include "engine/catalogue.h"
#include "engine/loading.h"
#include "engine/score.h"

namespace fathom {
namespace {

struct ScoreFlags {
  std::string text, file, tokens, logits_out;
  const CLI::Option *text_option = nullptr, *file_option = nullptr, *tokens_option = nullptr;
};

void CheckOutput(const std::string& path) {
  if (path.empty()) return;
  const std::filesystem::path folder = std::filesystem::absolute(path).parent_path();
  FATHOM_USER_CHECK(std::filesystem::is_directory(folder), "--logits-out {}: there is no folder {}", path, folder.string());
  FATHOM_USER_CHECK(!std::filesystem::is_directory(path), "--logits-out {}: is a folder, a file was expected", path);
}

std::vector<int32_t> ReadInput(const ScoreFlags& flags, const Tokenizer* tokenizer) {
  if (flags.tokens_option->count() > 0) return ParseTokenIds("--tokens", flags.tokens);
  const std::string text = flags.file_option->count() > 0 ? ReadFile(flags.file) : flags.text;
  FATHOM_USER_CHECK(!text.empty(), "{} must not be empty", flags.file_option->count() > 0 ? "--file " + flags.file : "--text");
  return tokenizer->Encode(text, {.add_bos = tokenizer->adds_bos()});
}

int RunScore(const ScoreFlags& flags, const CommonOptions& common) {
  const int inputs = (flags.text_option->count() > 0) + (flags.file_option->count() > 0) + (flags.tokens_option->count() > 0);
  FATHOM_USER_CHECK(inputs == 1, "give exactly one of --text, --file and --tokens, got {}", inputs);
  CheckOutput(flags.logits_out);
  if (flags.tokens_option->count() > 0) {
    FATHOM_USER_CHECK(!ParseTokenIds("--tokens", flags.tokens).empty(), "--tokens must hold at least one id, got '{}'", flags.tokens);
  }
  const bool needs_text = flags.tokens_option->count() == 0;
  const LoadedCheckpoint model =
      LoadForGeneration(ResolveModelPath(common.model), LoadOptionsOf(common, needs_text));
  const std::vector<int32_t> tokens = ReadInput(flags, model.loaded.tokenizer.get());

  InterruptGuard guard;
  const Score score = ScoreTokens(*model.loaded.model, tokens, model.loaded.context_length,
                                  {.keep_logits = !flags.logits_out.empty(), .cancelled = InterruptGuard::Interrupted});
  if (score.cancelled) return kExitInterrupted;
  if (!flags.logits_out.empty()) {
    std::vector<std::pair<std::string, at::Tensor>> tensors = {{"logits", score.logits_TV}};
    if (score.mtp_logits_TV.defined()) tensors.emplace_back("mtp_logits", score.mtp_logits_TV);
    SaveTensors(flags.logits_out, tensors);
  }
  OrderedJson nll, perplexity;  // null with one token
  if (!score.logprobs.empty()) {
    const double mean = std::accumulate(score.logprobs.begin(), score.logprobs.end(), 0.0) / static_cast<double>(score.logprobs.size());
    nll = -mean;
    perplexity = std::exp(-mean);
  }
  if (common.json) {
    const OrderedJson result = {{"tokens", tokens}, {"logprobs", score.logprobs}, {"nll", nll}, {"perplexity", perplexity}};
    PrintJson(result);
  } else if (score.logprobs.empty()) {
    std::printf("1 token: nothing to predict\n");
  } else {
    std::printf("%zu tokens, nll %.6f, perplexity %.4f\n", tokens.size(), nll.get<double>(), perplexity.get<double>());
  }
  return kExitDone;
}

}  // namespace

VerbFunction AddScore(CLI::App& app, CommonOptions& common) {
  auto flags = std::make_shared<ScoreFlags>();
  CLI::App* verb = app.add_subcommand("score", "log-probabilities of a text, its perplexity, logits to a file");
  flags->text_option = AddText(*verb, "--text", flags->text, "the text (a BOS is added where the tokenizer says so)");
  flags->file_option = AddText(*verb, "--file", flags->file, "a file that holds the text")->type_name("F");
  flags->tokens_option = AddText(*verb, "--tokens", flags->tokens, "the text as ids: 1,2,3")->type_name("IDS");
  AddText(*verb, "--logits-out", flags->logits_out, "write logits [T, V] float32 (and mtp_logits [T-1, V])")->type_name("F.safetensors");
  AddCommonOptions(*verb, common, kModelFlag | kJsonFlag);
  verb->footer(
      "Examples:\n"
      "  fathom score --text 'The sea is blue.' --json\n"
      "  fathom score --model DIR --tokens 1,2,3 --logits-out logits.safetensors");
  return [flags, &common] { return RunScore(*flags, common); };
}

}  // namespace fathom
