// fathom tokenizer train: a byte-level BPE tokenizer from text.
#include <ATen/Parallel.h>

#include <CLI/CLI.hpp>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/interrupted.h"
#include "base/json.h"
#include "base/progress_bar.h"
#include "base/utf8.h"
#include "checkpoint/output_folder.h"
#include "cli/arguments.h"
#include "cli/interrupt.h"
#include "cli/json_output.h"
#include "cli/program.h"
#include "cli/verb_options.h"
#include "cli/verbs.h"
#include "data/train_tokenizer.h"
#include "text/tokenizer.h"

namespace fathom {
namespace {

struct TokenizerFlags {
  std::string action, out, pre_tokenizer = "deepseek-v3", text_field = "text", documents = "file", bos, eos, pad, chat_template;
  std::vector<std::string> data, special_tokens;
  int64_t vocab_size = 0, min_frequency = 0, context = 131072;
};

// The special tokens and which of them are BOS, EOS and padding: by default the first three.
struct SpecialTokens {
  std::vector<std::string> all;
  std::string bos, eos, pad;
};

SpecialTokens SpecialTokensOf(const TokenizerFlags& flags) {
  SpecialTokens tokens{.all = flags.special_tokens.empty() ? DefaultSpecialTokens() : flags.special_tokens};
  const bool by_default = flags.special_tokens.empty();
  std::set<std::string> seen;
  for (const std::string& token : tokens.all) {
    FATHOM_USER_CHECK(!token.empty() && IsValidUtf8(token), "--special-tokens: a token must be a text, got '{}'", ReplaceInvalidUtf8(token));
    FATHOM_USER_CHECK(seen.insert(token).second, "--special-tokens: '{}' stands twice", token);
    const char* p = token.data();
    NextCodePoint(p);
    FATHOM_USER_CHECK(p != token.data() + token.size(), "--special-tokens: '{}' is one character, which is a token of text", token);
  }
  const auto choose = [&](const char* flag, const std::string& given, size_t index) {
    FATHOM_USER_CHECK(given.empty() || seen.contains(given), "{}: '{}' is none of the special tokens", flag, given);
    return !given.empty() ? given : by_default || index < 2 ? (index < tokens.all.size() ? tokens.all[index] : "") : "";
  };
  tokens.bos = choose("--bos", flags.bos, 0);
  tokens.eos = choose("--eos", flags.eos, 1);
  tokens.pad = choose("--pad", flags.pad, 2);
  return tokens;
}

double Seconds(std::chrono::steady_clock::time_point since) { return std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count(); }

int TrainTokenizer(const TokenizerFlags& flags, bool json) {
  FATHOM_USER_CHECK(!flags.data.empty(), "`fathom tokenizer train` needs --data");
  FATHOM_USER_CHECK(flags.vocab_size > 0, "`fathom tokenizer train` needs --vocab-size");
  FATHOM_USER_CHECK(!flags.out.empty(), "`fathom tokenizer train` needs --out, a new folder");
  const SpecialTokens special = SpecialTokensOf(flags);
  SourceSpec source;
  source.name = "the texts";
  source.paths = flags.data;
  source.text_field = flags.text_field;
  source.unit = ParseDocumentUnit(flags.documents, "--documents");
  OutputFolder folder(flags.out);

  auto start = std::chrono::steady_clock::now();
  const WordCountResult counted =
      CountWords(source, {.family = flags.pre_tokenizer, .num_threads = at::get_num_threads(), .stop = InterruptGuard::Interrupted, .show_progress = !json});
  FATHOM_USER_CHECK(counted.num_bytes > 0, "--data: has no text ({} documents could not be read)", counted.num_rejected);
  const double count_seconds = Seconds(start);
  start = std::chrono::steady_clock::now();
  TrainedBpe trained;
  {
    ProgressBar bar("merging", flags.vocab_size, !json);
    trained = TrainBpe(counted.words, {.vocab_size = flags.vocab_size, .min_frequency = flags.min_frequency, .special_tokens = special.all, .progress = [&](int64_t size) {
                                         ThrowIfStopped(InterruptGuard::Interrupted, "merging stopped");
                                         bar.Update(size, fmt::format("{} tokens", size));
                                       }});
  }
  const double merge_seconds = Seconds(start);
  GgufVocabulary vocabulary = VocabularyOf(trained, flags.pre_tokenizer, special.all, special.bos, special.eos, special.pad);
  if (!flags.chat_template.empty()) vocabulary.chat_template = ReadFile(flags.chat_template);
  WriteFileAtomically(folder.path() / "tokenizer.json", HubTokenizer(vocabulary).dump(2) + "\n");
  WriteFileAtomically(folder.path() / "tokenizer_config.json", HubTokenizerConfig(vocabulary, flags.context).dump(2) + "\n");
  folder.Commit();

  const auto size = std::ssize(trained.tokens);
  if (json) {
    PrintJson(OrderedJson{{"out", flags.out}, {"vocab_size", size}, {"merges", trained.merges.size()}, {"documents", counted.num_documents}, {"bytes", counted.num_bytes},
                          {"words", counted.words.size()}, {"rejected", counted.num_rejected}, {"count_s", count_seconds}, {"merge_s", merge_seconds}});
    return kExitDone;
  }
  fmt::print("{}: {} tokens from {:.1f} MB of text in {} documents ({} different words)", flags.out, size, 1e-6 * static_cast<double>(counted.num_bytes), counted.num_documents,
             counted.words.size());
  if (size < flags.vocab_size) fmt::print("; the text has pairs for no more than that");
  if (counted.num_rejected > 0) fmt::print("; {} documents could not be read", counted.num_rejected);
  fmt::print("\nwords counted in {:.1f} s, merged in {:.1f} s\n", count_seconds, merge_seconds);
  return kExitDone;
}

int RunTokenizer(const TokenizerFlags& flags, const CommonOptions& common) {
  FATHOM_USER_CHECK(flags.action == "train", "`fathom tokenizer` takes `train`, got '{}'", flags.action);
  const InterruptGuard guard;
  return TrainTokenizer(flags, common.json);
}

}  // namespace

VerbFunction AddTokenizer(CLI::App& app, CommonOptions& common) {
  auto flags = std::make_shared<TokenizerFlags>();
  CLI::App* verb = app.add_subcommand("tokenizer", "train a tokenizer (byte-level BPE)");
  verb->add_option("action", flags->action, "train")->type_name("");
  AddTexts(*verb, "--data", flags->data, "files (text, .jsonl, .parquet, also .gz and .zst), folders and globs");
  AddInteger(*verb, "--vocab-size", flags->vocab_size, "tokens, special ones and the 256 bytes included", 257, 1 << 22);
  AddText(*verb, "--out", flags->out, "a new folder for tokenizer.json and tokenizer_config.json");
  AddText(*verb, "--pre-tokenizer", flags->pre_tokenizer, "deepseek-v3, deepseek-llm, deepseek-coder, gpt-2, llama-bpe, qwen2 or smollm (deepseek-v3)");
  AddInteger(*verb, "--min-frequency", flags->min_frequency, "rarer pairs are not merged (0)", 0);
  AddTexts(*verb, "--special-tokens", flags->special_tokens, "the first ids; the first two are BOS and EOS (DeepSeek-V3's eight)");
  AddText(*verb, "--bos", flags->bos, "which special token begins a text");
  AddText(*verb, "--eos", flags->eos, "which special token ends a document");
  AddText(*verb, "--pad", flags->pad, "which special token fills up");
  AddText(*verb, "--chat-template", flags->chat_template, "a Jinja file to put in tokenizer_config.json");
  AddInteger(*verb, "--context", flags->context, "model_max_length (131072)", 1, int64_t{1} << 40);
  AddText(*verb, "--text-field", flags->text_field, "the field of JSON lines and Parquet (text)");
  AddText(*verb, "--documents", flags->documents, "of a text file: file, line, paragraph or chunk (file)");
  AddCommonOptions(*verb, common, kJsonFlag);
  verb->footer("Examples:\n  fathom tokenizer train --data books/ code.jsonl.zst --vocab-size 32000 --out tok\n  fathom tokenize --tokenizer tok --text 'Hello world'");
  return [flags, &common] { return RunTokenizer(*flags, common); };
}

}  // namespace fathom
