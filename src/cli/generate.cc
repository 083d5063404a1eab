// fathom generate: one request, its text or JSON.
#include <CLI/CLI.hpp>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/arguments.h"
#include "cli/compute_device.h"
#include "cli/interrupt.h"
#include "cli/program.h"
#include "cli/prompt_flags.h"
#include "cli/verb_options.h"
#include "cli/verbs.h"
#include "engine/catalogue.h"
#include "engine/generate.h"
#include "engine/grammar.h"
#include "engine/loading.h"

namespace fathom {
namespace {

struct GenerateFlags {
  std::string prompt, prompt_file, tokens;
  MessageFlags messages;
  SamplingFlags sampling;
  GrammarFlags grammar;
  std::vector<std::string> stop;
  int64_t max_new_tokens = 256, num_samples = 1, num_logprobs = -1;
  bool ignore_eos = false, stream = false;
  const CLI::Option *prompt_option = nullptr, *file_option = nullptr, *tokens_option = nullptr;
};

struct Choice {
  std::string text;
  std::vector<int32_t> tokens;
  std::vector<TokenLogprob> logprobs;
  FinishReason finish = FinishReason::kNone;
};

const char* FinishName(FinishReason finish) {
  switch (finish) {
    case FinishReason::kStop: return "stop";
    case FinishReason::kLength: return "length";
    case FinishReason::kCancelled: return "cancelled";
    case FinishReason::kNone: break;
  }
  return "";
}

std::string Dump(const OrderedJson& json) { return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace); }

OrderedJson LogprobsJson(const std::vector<TokenLogprob>& logprobs) {
  OrderedJson list = OrderedJson::array();
  for (const TokenLogprob& entry : logprobs) {
    OrderedJson top = OrderedJson::array();
    for (const auto& [token, logprob] : entry.top) top.push_back({{"token", token}, {"logprob", logprob}});
    list.push_back({{"token", entry.token}, {"logprob", entry.logprob}, {"top", std::move(top)}});
  }
  return list;
}

OrderedJson SummaryJson(const Timings& timings) {
  const auto rate = [](int64_t count, double seconds) { return seconds > 0 ? static_cast<double>(count) / seconds : 0.0; };
  return {{"usage", {{"prompt_tokens", timings.prompt_tokens}, {"completion_tokens", timings.completion_tokens}}},
          {"timings",
           {{"prefill_s", timings.prefill_s},
            {"decode_s", timings.decode_s},
            {"prefill_tokens_per_s", rate(timings.prefilled_tokens, timings.prefill_s)},
            {"decode_tokens_per_s", rate(timings.decoded_tokens, timings.decode_s)}}}};
}

// What can be said before the model is loaded.
void CheckInput(const GenerateFlags& flags) {
  const int inputs = (flags.prompt_option->count() > 0) + (flags.file_option->count() > 0) + (flags.tokens_option->count() > 0) +
                     !flags.messages.messages.empty();
  FATHOM_USER_CHECK(inputs == 1, "give exactly one of --prompt, --prompt-file, --tokens and --messages, got {}", inputs);
  FATHOM_USER_CHECK(flags.prompt_option->count() == 0 || !flags.prompt.empty(), "--prompt must not be empty, got ''");
  FATHOM_USER_CHECK(!flags.messages.messages.empty() || (flags.messages.tools.empty() && flags.messages.template_args.empty()),
                    "--tools and --template-args are for --messages, which is not given");
}

std::vector<int32_t> ReadPrompt(const GenerateFlags& flags, const LoadedCheckpoint& model) {
  if (flags.tokens_option->count() > 0) return ParseTokenIds("--tokens", flags.tokens);
  const Tokenizer& tokenizer = *model.loaded.tokenizer;
  if (!flags.messages.messages.empty()) {
    return tokenizer.Encode(LoadChatTemplate(model.path)->Render(flags.messages.Read()), {.add_bos = false});
  }
  std::string text = flags.prompt;
  if (flags.file_option->count() > 0) {
    text = ReadFile(flags.prompt_file);
    FATHOM_USER_CHECK(!text.empty(), "--prompt-file {}: the file is empty", flags.prompt_file);
  }
  return tokenizer.Encode(text, {.add_bos = tokenizer.adds_bos()});
}

// Streams pieces to stdout as they come, in the form that was asked for.
void PrintDelta(const Delta& delta, bool json, bool has_text) {
  if (json) {
    OrderedJson line = {{"index", delta.index}, {"text", delta.text}, {"tokens", delta.tokens}};
    if (!delta.logprobs.empty()) line["logprobs"] = LogprobsJson(delta.logprobs);
    line["finish_reason"] = delta.finish == FinishReason::kNone ? OrderedJson() : OrderedJson(FinishName(delta.finish));
    std::printf("%s\n", Dump(line).c_str());
  } else if (has_text) {
    std::fputs(delta.text.c_str(), stdout);
  } else {
    for (const int32_t token : delta.tokens) std::printf("%d ", token);
  }
  std::fflush(stdout);
}

void PrintChoices(const std::vector<Choice>& choices, const Timings& timings, bool json, bool has_text) {
  OrderedJson list = OrderedJson::array();
  for (size_t i = 0; i < choices.size(); ++i) {
    const Choice& choice = choices[i];
    if (!json) {
      if (choices.size() > 1) std::printf("%s[%zu]\n", i > 0 ? "\n" : "", i + 1);
      PrintDelta({.text = choice.text, .tokens = choice.tokens}, false, has_text);
      std::printf("\n");
      continue;
    }
    list.push_back({{"text", choice.text}, {"tokens", choice.tokens}, {"finish_reason", FinishName(choice.finish)}});
    if (!choice.logprobs.empty()) list.back()["logprobs"] = LogprobsJson(choice.logprobs);
  }
  if (!json) return;
  OrderedJson result = {{"choices", std::move(list)}};
  result.update(SummaryJson(timings));
  std::printf("%s\n", Dump(result).c_str());
}

int RunGenerate(const GenerateFlags& flags, const CommonOptions& common) {
  CheckInput(flags);
  const std::string grammar = flags.grammar.Read();
  FATHOM_USER_CHECK(!flags.stream || common.json || flags.num_samples == 1, "--stream without --json shows one answer, got --n {}",
                    flags.num_samples);
  GenerationRequest request{.max_new_tokens = flags.max_new_tokens, .stop = flags.stop, .ignore_eos = flags.ignore_eos,
                            .num_samples = flags.num_samples, .num_logprobs = flags.num_logprobs};
  if (flags.tokens_option->count() > 0) {
    FATHOM_USER_CHECK(!ParseTokenIds("--tokens", flags.tokens).empty(), "--tokens must hold at least one id, got '{}'", flags.tokens);
  }
  const bool needs_text = flags.tokens_option->count() == 0 || !flags.stop.empty() || !grammar.empty();
  const LoadedCheckpoint model =
      LoadForGeneration(ResolveModelPath(common.model), LoadOptionsOf(common, needs_text));
  const auto& tokenizer = model.loaded.tokenizer;
  request.prompt = ReadPrompt(flags, model);
  request.sampling = ResolveSampling(flags.sampling, model.generation_config);
  request.sampling.seed = ChooseSeed(common.seed_given, common.seed);
  request.stop_token_ids = ResolveEosTokens(model.generation_config, model.loaded.model->config(), tokenizer ? tokenizer->eos_id() : -1);

  if (!grammar.empty()) {
    GrammarCompiler compiler(*tokenizer, model.loaded.model->config().vocab_size, request.stop_token_ids);
    request.grammar = compiler.Compile({grammar});
  }

  InterruptGuard guard;
  request.cancelled = InterruptGuard::Interrupted;
  std::vector<Choice> choices(flags.num_samples);
  const bool has_text = tokenizer != nullptr;
  const Timings timings = Generate(model.loaded, request, [&](const Delta& delta) {
    if (flags.stream) PrintDelta(delta, common.json, has_text);
    Choice& choice = choices[delta.index];
    choice.text += delta.text;
    choice.tokens.insert(choice.tokens.end(), delta.tokens.begin(), delta.tokens.end());
    choice.logprobs.insert(choice.logprobs.end(), delta.logprobs.begin(), delta.logprobs.end());
    choice.finish = delta.finish;
    return !InterruptGuard::Interrupted();
  });
  if (!flags.stream) PrintChoices(choices, timings, common.json, has_text);
  else std::printf("%s\n", common.json ? Dump(SummaryJson(timings)).c_str() : "");
  return InterruptGuard::Interrupted() ? kExitInterrupted : kExitDone;
}

}  // namespace

VerbFunction AddGenerate(CLI::App& app, CommonOptions& common) {
  auto flags = std::make_shared<GenerateFlags>();
  CLI::App* verb = app.add_subcommand("generate", "one prompt to text");
  flags->prompt_option = AddText(*verb, "--prompt", flags->prompt, "the prompt (a BOS is added where the tokenizer says so)");
  flags->file_option = AddText(*verb, "--prompt-file", flags->prompt_file, "a file that holds the prompt")->type_name("F");
  flags->tokens_option = AddText(*verb, "--tokens", flags->tokens, "the prompt as ids: 1,2,3")->type_name("IDS");
  flags->messages.Add(*verb);
  AddInteger(*verb, "--max-new-tokens", flags->max_new_tokens, "at most so many (256)", 0);
  AddSamplingFlags(*verb, flags->sampling);
  AddTexts(*verb, "--stop", flags->stop, "end before any of these texts");
  flags->grammar.Add(*verb);
  AddSwitch(*verb, "--ignore-eos", flags->ignore_eos, "go on after the end token");
  AddInteger(*verb, "--n", flags->num_samples, "answers to the prompt (1)", 1, 1024);
  AddInteger(*verb, "--logprobs", flags->num_logprobs, "with --json: each token's log-probability (of the model's own distribution) and the K best", 0, 1000)
      ->type_name("K");
  AddSwitch(*verb, "--stream", flags->stream, "print pieces as they come (with --json one object a line)");
  AddCommonOptions(*verb, common, kModelFlag | kJsonFlag | kCacheFlag);
  verb->footer(
      "Sampling that is not set comes from generation_config.json, else it is greedy.\n"
      "Examples:\n"
      "  fathom generate --prompt 'The sea is' --max-new-tokens 40\n"
      "  fathom generate --model DIR --tokens 1,2,3 --max-new-tokens 24 --temperature 0 --json\n"
      "  fathom generate --prompt 'A city as JSON: ' --json-schema '{\"type\": \"object\", \"properties\": {\"name\": {\"type\": \"string\"}}, \"required\": [\"name\"]}'\n"
      "  fathom generate --messages chat.json --temperature 0.7 --top-p 0.9 --seed 1 --stream");
  return [flags, &common] { return RunGenerate(*flags, common); };
}

}  // namespace fathom
