// A run's own tokenizer, trained on its data.
#include <fmt/format.h>

#include "base/error.h"
#include "base/file.h"
#include "base/interrupted.h"
#include "checkpoint/output_folder.h"
#include "data/train_tokenizer.h"
#include "train/pretrain.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kContext = 8192;

void Train(const DataSpec& data, const std::string& family, int64_t vocab_size, const PretrainOptions& options, const fs::path& out) {
  WordCounts words;
  for (const SourceSpec& source : data.sources) {
    words.Merge(CountWords(source, {.family = family, .num_threads = options.num_threads, .stop = options.stop, .show_progress = options.show_progress}).words);
  }
  FATHOM_USER_CHECK(words.size() > 0, "the recipe's data has no text to train a tokenizer on");
  const std::vector<std::string>& special_tokens = DefaultSpecialTokens();  // begin, end and padding first
  const TrainedBpe trained = TrainBpe(words, {.vocab_size = vocab_size, .special_tokens = special_tokens, .progress = [&](int64_t) {
                                                ThrowIfStopped(options.stop, "the training of the tokenizer stopped; --resume begins it again");
                                              }});
  const GgufVocabulary vocabulary = VocabularyOf(trained, family, special_tokens, special_tokens[0], special_tokens[1], special_tokens[2]);
  OutputFolder folder(out);
  WriteFileAtomically(folder.path() / "tokenizer.json", HubTokenizer(vocabulary).dump(2) + "\n");
  WriteFileAtomically(folder.path() / "tokenizer_config.json", HubTokenizerConfig(vocabulary, kContext).dump(2) + "\n");
  folder.Commit();
}

}  // namespace

fs::path PrepareTokenizer(const Yaml& recipe, const PretrainOptions& options) {
  const Yaml tokenizer = recipe.Get("tokenizer");
  if (!tokenizer.is_map()) return tokenizer.AsString();
  tokenizer.AllowKeys({"vocab_size", "family"});
  const int64_t vocab_size = tokenizer.Get("vocab_size").AsInt(264, int64_t{1} << 20);
  const fs::path out = options.out / "tokenizer";
  if (!fs::exists(out)) Train(DataOf(recipe), tokenizer.GetString("family", "deepseek-v3"), vocab_size, options, out);
  return out;
}

}  // namespace fathom
