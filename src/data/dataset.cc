#include "data/dataset.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/log.h"
#include "data/corpus.h"
#include "data/tokenize.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

// A folder that `data tokenize` wrote, given as the source itself.
bool IsCorpus(const SourceSpec& source) { return source.paths.size() == 1 && fs::exists(fs::path(source.paths[0]) / kCorpusIndex); }

std::shared_ptr<const Corpus> OpenSource(const SourceSpec& source, const TokenizerFile& tokenizer, const DatasetOptions& options) {
  fs::path folder = source.paths[0];
  if (!IsCorpus(source)) {
    FATHOM_USER_CHECK(!options.cache.empty(), "{} is no folder that `fathom data tokenize` wrote", source.paths[0]);
    folder = CacheFolder(options.cache, source, tokenizer.hash);
    const CorpusIndex index = TokenizeSource(source, tokenizer, folder, {.num_threads = options.num_threads, .stop = options.stop, .show_progress = options.show_progress});
    if (index.num_rejected > 0)
      LogWarn("{}: {} of {} records could not be read and are put aside in {}", source.name, index.num_rejected,
              index.num_rejected + index.num_empty + index.num_documents(), (folder / kRejectsFile).string());
  }
  auto corpus = Corpus::Open(folder, options.num_threads);
  FATHOM_USER_CHECK(corpus->index().tokenizer_hash == tokenizer.hash, "{}: was tokenised with another tokenizer", folder.string());
  return corpus;
}

// Shares of the sources: of the domain by the mixture, in it by weights or sizes.
void SetShares(Dataset& dataset) {
  const auto weight_of = [](const DatasetSource& source) {
    return source.spec.weight > 0 ? source.spec.weight : static_cast<double>(source.corpus->num_tokens());
  };
  std::map<std::string, double> domain_weights;
  double all = 0;
  for (const DatasetSource& source : dataset.sources) {
    domain_weights[source.spec.domain] += weight_of(source);
    all += weight_of(source);
  }
  for (DatasetSource& source : dataset.sources) {
    const auto given = std::find_if(dataset.spec.mixture.begin(), dataset.spec.mixture.end(), [&](const auto& entry) { return entry.first == source.spec.domain; });
    const bool mixed = given != dataset.spec.mixture.end();
    source.share = mixed ? given->second * weight_of(source) / domain_weights[source.spec.domain] : weight_of(source) / all;
  }
}

}  // namespace

fs::path CacheFolder(const fs::path& cache, const SourceSpec& source, uint64_t tokenizer_hash) {
  std::string key = fmt::format("{}\n{}\n{}", HexOf(tokenizer_hash), source.text_field, NameOf(source.unit));
  for (const std::string& path : source.paths) key += "\n" + path;
  std::string name = fs::path(source.paths[0]).filename().string();
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '_' && c != '.') c = '_';
  while (name.starts_with('.')) name.erase(0, 1);
  if (name.empty()) name = "source";
  return cache / (name.substr(0, 64) + "-" + HexOf(HashBytes(key)).substr(0, 12));
}

std::shared_ptr<const Dataset> Dataset::Open(const DataSpec& spec, const fs::path& tokenizer_path, const DatasetOptions& options) {
  const TokenizerFile tokenizer = LoadTokenizerFile(tokenizer_path);
  FATHOM_USER_CHECK(tokenizer.tokenizer->eos_id() >= 0, "{}: the tokenizer has no EOS token, which documents end with", tokenizer_path.string());
  FATHOM_USER_CHECK(!spec.add_bos || tokenizer.tokenizer->bos_id() >= 0, "data.add_bos: the tokenizer {} has no BOS token", tokenizer_path.string());
  auto dataset = std::make_shared<Dataset>();
  dataset->spec = spec;
  dataset->tokenizer = tokenizer.tokenizer;
  uint64_t fingerprint = tokenizer.hash;
  for (const SourceSpec& source : spec.sources) {
    dataset->sources.push_back({source, OpenSource(source, tokenizer, options), 0});
    const Corpus& corpus = *dataset->sources.back().corpus;
    dataset->num_tokens += corpus.num_tokens();
    dataset->num_documents += corpus.num_documents();
    fingerprint = HashBytes(HexOf(corpus.index().fingerprint()), fingerprint);
    if (std::find(dataset->domains.begin(), dataset->domains.end(), source.domain) == dataset->domains.end()) dataset->domains.push_back(source.domain);
  }
  dataset->fingerprint = HexOf(fingerprint);
  SetShares(*dataset);
  return dataset;
}

}  // namespace fathom
