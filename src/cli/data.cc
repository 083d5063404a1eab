// fathom data: what sources hold, and tokenising them once for all runs.
#include <ATen/Parallel.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"
#include "base/yaml.h"
#include "cli/arguments.h"
#include "cli/interrupt.h"
#include "cli/json_output.h"
#include "cli/program.h"
#include "cli/verb_options.h"
#include "cli/verbs.h"
#include "data/corpus.h"
#include "data/dataset.h"
#include "data/inspect.h"
#include "data/loader.h"
#include "data/spec.h"
#include "data/tokenize.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

struct DataFlags {
  std::string action, path, recipe, tokenizer, out, text_field = "text", documents = "file";
  std::vector<std::string> data;
  int64_t show = 0, shard_tokens = 1 << 24, tokens = 0;
  double held_out = 0.01;
};

// One source of all of --data, or the sources of a recipe.
std::vector<SourceSpec> SourcesOf(const DataFlags& flags) {
  std::vector<std::string> paths = flags.data;
  if (!flags.path.empty()) paths.insert(paths.begin(), flags.path);
  FATHOM_USER_CHECK(flags.recipe.empty() != paths.empty(), "`fathom data {}` needs --data or --recipe, got {}", flags.action, paths.empty() ? "neither" : "both");
  FATHOM_USER_CHECK(flags.recipe.empty() || (flags.documents == "file" && flags.text_field == "text"), "--recipe says itself what --documents and --text-field would");
  if (!flags.recipe.empty()) return ParseDataSpec(Yaml::ReadFile(flags.recipe).Get("data")).sources;
  SourceSpec source;
  source.name = fmt::format("{}", fmt::join(paths, " "));
  source.paths = paths;
  source.text_field = flags.text_field;
  source.unit = ParseDocumentUnit(flags.documents, "--documents");
  return {source};
}


std::string Megabytes(int64_t bytes) { return fmt::format("{:.1f} MB", 1e-6 * static_cast<double>(bytes)); }

// The first lines of a text, for people.
std::string Beginning(const std::string& text) {
  constexpr size_t kShown = 400;
  if (text.size() <= kShown) return text;
  size_t end = kShown;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + "...";
}

OrderedJson ToJson(const SourceSpec& source, const SourceSummary& summary) {
  OrderedJson rejects = OrderedJson::array();
  for (const auto& reject : summary.rejects) rejects.push_back({{"file", reject.file}, {"line", reject.line}, {"reason", reject.reason}});
  return {{"source", source.name}, {"kind", "text"}, {"files", summary.num_files}, {"file_bytes", summary.file_bytes}, {"formats", summary.formats},
          {"documents", summary.num_documents}, {"bytes", summary.text_bytes}, {"shortest", summary.shortest}, {"median", summary.median},
          {"longest", summary.longest}, {"empty", summary.num_empty}, {"duplicates", summary.num_duplicates}, {"rejected", summary.num_rejected},
          {"rejects", rejects}, {"examples", summary.examples}};
}

void Print(const SourceSpec& source, const SourceSummary& summary) {
  std::string formats;
  for (const auto& [format, count] : summary.formats) formats += fmt::format("{}{} {}", formats.empty() ? "" : ", ", count, format);
  fmt::print("{}: {} files ({}), {} on disk\n", source.name, summary.num_files, formats, Megabytes(summary.file_bytes));
  fmt::print("  {} documents, {} of text; shortest {}, median {}, longest {} bytes\n", summary.num_documents, Megabytes(summary.text_bytes), summary.shortest, summary.median,
             summary.longest);
  fmt::print("  {} empty, {} copies of another, {} cannot be read\n", summary.num_empty, summary.num_duplicates, summary.num_rejected);
  for (const auto& reject : summary.rejects) fmt::print("    {}:{}: {}\n", reject.file, reject.line, reject.reason);
  for (const std::string& example : summary.examples) fmt::print("  --- a document\n{}\n", Beginning(example));
}

int InspectCorpus(const fs::path& folder, const DataFlags& flags, int num_threads, bool json) {
  const auto corpus = Corpus::Open(folder, num_threads);
  const CorpusIndex& index = corpus->index();
  int64_t held_out = 0, longest = 0;
  for (int64_t i = 0; i < corpus->num_documents(); ++i) {
    held_out += IsHeldOut(corpus->TextHashOf(i), flags.held_out);
    longest = std::max(longest, corpus->TokensOf(i));
  }
  std::vector<std::string> examples;
  if (flags.show > 0) {
    FATHOM_USER_CHECK(!flags.tokenizer.empty(), "--show needs --tokenizer, to read the tokens");
    const TokenizerFile tokenizer = LoadTokenizerFile(flags.tokenizer);
    FATHOM_USER_CHECK(tokenizer.hash == index.tokenizer_hash, "--tokenizer: {} was tokenised with another one", folder.string());
    for (int64_t i = 0; i < std::min(flags.show, corpus->num_documents()); ++i) {
      std::vector<int32_t> tokens;
      corpus->AppendTokens(i, tokens);
      examples.push_back(tokenizer.tokenizer->Decode(tokens, false));
    }
  }
  const double documents = static_cast<double>(corpus->num_documents()), tokens = static_cast<double>(corpus->num_tokens());
  if (json) {
    PrintJson(OrderedJson{{"source", folder.string()}, {"kind", "corpus"}, {"documents", corpus->num_documents()}, {"tokens", corpus->num_tokens()}, {"bytes", index.num_bytes()},
               {"shards", index.shards.size()}, {"vocab_size", index.vocab_size}, {"longest", longest}, {"rejected", index.num_rejected}, {"empty", index.num_empty},
               {"held_out", {{"rate", flags.held_out}, {"documents", held_out}}}, {"fingerprint", HexOf(index.fingerprint())}, {"examples", examples}});
    return kExitDone;
  }
  fmt::print("{}: {} shards, whole; made from {} files, vocabulary of {}\n", folder.string(), index.shards.size(), index.inputs.size(), index.vocab_size);
  fmt::print("  {} documents, {} tokens ({:.1f} a document, longest {}), {:.2f} bytes of text a token\n", corpus->num_documents(), corpus->num_tokens(), tokens / documents, longest,
             static_cast<double>(index.num_bytes()) / tokens);
  fmt::print("  {} empty, {} could not be read{}; held out at {}: {} documents\n", index.num_empty, index.num_rejected,
             index.num_rejected > 0 ? fmt::format(" (in {})", (folder / kRejectsFile).string()) : "", flags.held_out, held_out);
  for (const std::string& example : examples) fmt::print("  --- a document\n{}\n", Beginning(example));
  return kExitDone;
}

// Tokens a second that the loader hands over, from about a second of it.
double LoaderSpeed(const std::shared_ptr<const Dataset>& dataset, uint64_t seed) {
  DataLoader loader(dataset, {.sequence_length = 4096, .seed = seed});
  const auto start = std::chrono::steady_clock::now();
  double seconds = 0;
  while (seconds < 1 && loader.Next(8)) seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return static_cast<double>(loader.num_tokens_read()) / std::max(seconds, 1e-9);
}

// The sources of a recipe as a run will read them.
int InspectMixture(const DataFlags& flags, const CommonOptions& common, int num_threads) {
  const DataSpec spec = ParseDataSpec(Yaml::ReadFile(flags.recipe).Get("data"));
  const auto dataset = Dataset::Open(
      spec, flags.tokenizer, {.cache = flags.out, .num_threads = num_threads, .stop = InterruptGuard::Interrupted, .show_progress = !common.json});
  const double speed = LoaderSpeed(dataset, common.seed);
  OrderedJson sources = OrderedJson::array();
  for (const DatasetSource& source : dataset->sources) {
    const double tokens = static_cast<double>(source.corpus->num_tokens() + source.corpus->num_documents());
    sources.push_back({{"source", source.spec.name}, {"domain", source.spec.domain}, {"documents", source.corpus->num_documents()}, {"tokens", source.corpus->num_tokens()},
                       {"share", source.share}, {"epochs", static_cast<double>(flags.tokens) * source.share / tokens}, {"most_epochs", source.spec.epochs}});
  }
  if (common.json) {
    PrintJson(OrderedJson{{"documents", dataset->num_documents}, {"tokens", dataset->num_tokens}, {"fingerprint", dataset->fingerprint}, {"sources", sources}, {"loader_tokens_per_s", speed}});
    return kExitDone;
  }
  size_t width = 6;
  for (const DatasetSource& source : dataset->sources) width = std::max(width, source.spec.name.size());
  fmt::print("{:<{}} {:<12} {:>10} {:>14} {:>7}  {}\n", "SOURCE", width, "DOMAIN", "DOCUMENTS", "TOKENS", "SHARE", flags.tokens > 0 ? fmt::format("EPOCHS IN {} TOKENS", flags.tokens) : "");
  for (const OrderedJson& row : sources) {
    std::string epochs;
    if (flags.tokens > 0) epochs = fmt::format("{:.2f}", row["epochs"].get<double>());
    if (const double most = row["most_epochs"]; most > 0) epochs += fmt::format("{}at most {}", epochs.empty() ? "" : ", ", most);
    fmt::print("{:<{}} {:<12} {:>10} {:>14} {:>6.1f}%  {}\n", row["source"].get<std::string>(), width, row["domain"].get<std::string>(), row["documents"].get<int64_t>(),
               row["tokens"].get<int64_t>(), 100 * row["share"].get<double>(), epochs);
  }
  fmt::print("the loader gives {:.1f}M tokens a second on one thread\n", 1e-6 * speed);
  return kExitDone;
}

int Inspect(const DataFlags& flags, int num_threads, bool json) {
  const std::string folder = !flags.path.empty() ? flags.path : flags.data.size() == 1 ? flags.data[0] : "";
  if (!folder.empty() && fs::exists(fs::path(folder) / kCorpusIndex)) return InspectCorpus(folder, flags, num_threads, json);
  for (const SourceSpec& source : SourcesOf(flags)) {
    const SourceSummary summary = InspectSource(source, num_threads, flags.show, InterruptGuard::Interrupted, !json);
    if (json) PrintJson(ToJson(source, summary));
    else Print(source, summary);
  }
  return kExitDone;
}

int TokenizeData(const DataFlags& flags, int num_threads, bool json) {
  FATHOM_USER_CHECK(!flags.out.empty(), "`fathom data tokenize` needs --out, the folder for the tokens");
  FATHOM_USER_CHECK(!flags.tokenizer.empty(), "`fathom data tokenize` needs --tokenizer: a folder, a tokenizer.json or a GGUF");
  const std::vector<SourceSpec> sources = SourcesOf(flags);
  const TokenizerFile tokenizer = LoadTokenizerFile(flags.tokenizer);
  const TokenizeOptions options{.num_threads = num_threads, .shard_tokens = flags.shard_tokens, .stop = InterruptGuard::Interrupted, .show_progress = !json};
  for (const SourceSpec& source : sources) {
    const fs::path folder = flags.recipe.empty() ? fs::path(flags.out) : CacheFolder(flags.out, source, tokenizer.hash);
    const CorpusIndex index = TokenizeSource(source, tokenizer, folder, options);
    FATHOM_USER_CHECK(index.num_documents() > 0, "{}: has no document ({} could not be read, {} are empty)", source.name, index.num_rejected, index.num_empty);
    if (json) {
      PrintJson(OrderedJson{{"source", source.name}, {"out", folder.string()}, {"documents", index.num_documents()}, {"tokens", index.num_tokens()}, {"bytes", index.num_bytes()},
                 {"shards", index.shards.size()}, {"rejected", index.num_rejected}, {"empty", index.num_empty}});
      continue;
    }
    fmt::print("{}: {} documents, {} tokens in {} shards", folder.string(), index.num_documents(), index.num_tokens(), index.shards.size());
    if (index.num_rejected > 0) fmt::print("; {} records could not be read and are in {}", index.num_rejected, (folder / kRejectsFile).string());
    fmt::print("\n");
  }
  return kExitDone;
}

int RunData(const DataFlags& flags, const CommonOptions& common) {
  FATHOM_USER_CHECK(flags.action == "inspect" || flags.action == "tokenize", "`fathom data` takes `inspect` or `tokenize`, got '{}'", flags.action);
  const InterruptGuard guard;
  const int num_threads = at::get_num_threads();
  if (flags.action == "tokenize") return TokenizeData(flags, num_threads, common.json);
  const bool of_recipe = !flags.recipe.empty() && !flags.tokenizer.empty() && !flags.out.empty();
  return of_recipe ? InspectMixture(flags, common, num_threads) : Inspect(flags, num_threads, common.json);
}

}  // namespace

VerbFunction AddData(CLI::App& app, CommonOptions& common) {
  auto flags = std::make_shared<DataFlags>();
  CLI::App* verb = app.add_subcommand("data", "what training data holds, and tokenising it once for all runs");
  verb->add_option("action", flags->action, "inspect or tokenize")->type_name("");
  verb->add_option("path", flags->path, "the same as --data PATH; or a folder that `data tokenize` wrote")->type_name("");
  AddTexts(*verb, "--data", flags->data, "files (text, .jsonl, .parquet, also .gz and .zst), folders and globs");
  AddText(*verb, "--recipe", flags->recipe, "a recipe whose `data:` section names the sources, instead of --data");
  AddText(*verb, "--tokenizer", flags->tokenizer, "a folder, a tokenizer.json or a GGUF");
  AddText(*verb, "--out", flags->out, "the folder for the tokens; a run that was cut off goes on there");
  AddText(*verb, "--text-field", flags->text_field, "the field of JSON lines and Parquet (text)");
  AddText(*verb, "--documents", flags->documents, "of a text file: file, line, paragraph or chunk (file)");
  AddInteger(*verb, "--shard-tokens", flags->shard_tokens, "tokens of a shard (16777216)", 1, int64_t{1} << 31);
  AddNumber(*verb, "--held-out", flags->held_out, "the share whose documents `inspect` counts (0.01)", {.least = 0, .most = 0.5});
  AddInteger(*verb, "--tokens", flags->tokens, "`inspect --recipe R --tokenizer T --out DIR`: the epochs of a run of N tokens", 0);
  AddInteger(*verb, "--show", flags->show, "also the first N documents (0)", 0, 1000);
  AddCommonOptions(*verb, common, kJsonFlag);
  verb->footer("Examples:\n  fathom data inspect books/ code.jsonl.zst --show 1\n  fathom data tokenize --data 'code/**/*.py' --tokenizer tok --out tokens\n  fathom data inspect tokens\n"
      "  fathom data inspect --recipe recipe.yaml --tokenizer tok --out cache --tokens 1000000000");
  return [flags, &common] { return RunData(*flags, common); };
}

}  // namespace fathom
