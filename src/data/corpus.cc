#include "data/corpus.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <exception>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "text/json_object.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxCount = int64_t{1} << 50;

int64_t Count(const JsonObject& object, const char* key, int64_t most = kMaxCount) { return object.GetInt(key, 0, most); }

uint64_t Hex(const JsonObject& object, const char* key) {
  const std::string& text = object.GetString(key);
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  FATHOM_USER_CHECK(text.size() == 16 && error == std::errc() && end == text.data() + text.size(), "{}: '{}' must be 16 hexadecimal digits, got '{}'", object.what(), key, text);
  return value;
}

template <typename Field>
int64_t Sum(const std::vector<ShardEntry>& shards, Field field) {
  int64_t sum = 0;
  for (const ShardEntry& shard : shards) sum += shard.*field;
  return sum;
}

void CheckAgainst(const Shard& shard, const ShardEntry& entry, const CorpusIndex& index, const std::string& what) {
  const ShardView& view = shard.view();
  FATHOM_USER_CHECK(static_cast<int64_t>(view.num_tokens) == entry.num_tokens && std::ssize(view.documents) == entry.num_documents && view.checksum == entry.checksum,
                    "{}: is not the shard that {} lists", what, kCorpusIndex);
  FATHOM_USER_CHECK(view.tokenizer_hash == index.tokenizer_hash && view.vocab_size == index.vocab_size, "{}: was made with another tokenizer than {} says", what,
                    kCorpusIndex);
}

}  // namespace

int64_t CorpusIndex::num_documents() const { return Sum(shards, &ShardEntry::num_documents); }
int64_t CorpusIndex::num_tokens() const { return Sum(shards, &ShardEntry::num_tokens); }
int64_t CorpusIndex::num_bytes() const { return Sum(shards, &ShardEntry::num_bytes); }

uint64_t CorpusIndex::fingerprint() const {
  uint64_t hash = tokenizer_hash;
  for (const ShardEntry& shard : shards) hash = HashBytes(HexOf(shard.checksum), hash);
  return hash;
}

CorpusIndex ParseCorpusIndex(std::string_view text, const std::string& what) {
  const Json json = ParseJson(text, what);
  const JsonObject root(json, what);
  FATHOM_USER_CHECK(root.GetString("format") == "fathom-corpus" && Count(root, "version") == 1, "{}: is no corpus of version 1", what);
  CorpusIndex index;
  index.tokenizer_hash = Hex(root, "tokenizer_hash");
  index.vocab_size = Count(root, "vocab_size", INT32_MAX);
  index.text_field = root.GetString("text_field");
  index.unit = ParseDocumentUnit(root.GetString("documents"), what + ": documents");
  index.shard_tokens = Count(root, "shard_tokens");
  for (const Json& item : root.GetArray("inputs")) {
    const JsonObject input(item, what + ": inputs");
    index.inputs.push_back({input.GetString("path"), FormatOf(input.GetString("path")), Count(input, "bytes"), Count(input, "modified_ns", INT64_MAX)});
  }
  int64_t num_tokens = 0;
  for (const Json& item : root.GetArray("shards")) {
    const JsonObject shard(item, what + ": shards");
    const std::string& file = shard.GetString("file");
    FATHOM_USER_CHECK(!file.empty() && file.find('/') == std::string::npos && file.find('\0') == std::string::npos && file[0] != '.',
                      "{}: shards: '{}' is no name of a file in the folder", what, file);
    index.shards.push_back({file, Count(shard, "documents"), Count(shard, "tokens"), Count(shard, "bytes"), Hex(shard, "checksum")});
    num_tokens += index.shards.back().num_tokens + index.shards.back().num_documents + index.shards.back().num_bytes;
    FATHOM_USER_CHECK(num_tokens <= kMaxCount, "{}: shards: more than {} tokens and bytes", what, kMaxCount);
  }
  index.num_rejected = Count(root, "rejected");
  index.num_empty = Count(root, "empty");
  index.rejects_bytes = Count(root, "rejects_bytes");
  index.next_file = Count(root, "next_file", std::ssize(index.inputs));
  index.next_record = Count(root, "next_record");
  root.Get("complete");
  index.complete = root.GetBool("complete", false);
  return index;
}

std::string DumpCorpusIndex(const CorpusIndex& index) {
  OrderedJson inputs = OrderedJson::array(), shards = OrderedJson::array();
  for (const InputFile& input : index.inputs) inputs.push_back({{"path", input.path.string()}, {"bytes", input.num_bytes}, {"modified_ns", input.modified_ns}});
  for (const ShardEntry& shard : index.shards)
    shards.push_back({{"file", shard.file}, {"documents", shard.num_documents}, {"tokens", shard.num_tokens}, {"bytes", shard.num_bytes}, {"checksum", HexOf(shard.checksum)}});
  const OrderedJson json = {{"format", "fathom-corpus"}, {"version", 1}, {"tokenizer_hash", HexOf(index.tokenizer_hash)}, {"vocab_size", index.vocab_size},
                            {"text_field", index.text_field}, {"documents", NameOf(index.unit)}, {"shard_tokens", index.shard_tokens},
                            {"complete", index.complete}, {"rejected", index.num_rejected}, {"empty", index.num_empty}, {"rejects_bytes", index.rejects_bytes},
                            {"next_file", index.next_file}, {"next_record", index.next_record}, {"shards", shards}, {"inputs", inputs}};
  return json.dump(1, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

std::shared_ptr<const Corpus> Corpus::Open(const fs::path& folder, int num_threads) {
  std::shared_ptr<Corpus> corpus(new Corpus);
  corpus->folder_ = folder;
  const fs::path index_path = folder / kCorpusIndex;
  corpus->index_ = ParseCorpusIndex(ReadFile(index_path), index_path.string());
  const CorpusIndex& index = corpus->index_;
  FATHOM_USER_CHECK(index.complete, "{}: was not tokenised to its end; run it again and it goes on", folder.string());
  FATHOM_USER_CHECK(index.num_documents() > 0, "{}: has no document ({} were rejected, {} empty)", folder.string(), index.num_rejected, index.num_empty);

  corpus->shards_.resize(index.shards.size());
  std::atomic<size_t> next{0};
  std::mutex mutex;
  std::exception_ptr error;
  const auto work = [&] {
    for (size_t i = next++; i < index.shards.size(); i = next++) {
      try {
        const fs::path path = folder / index.shards[i].file;
        auto shard = std::make_unique<const Shard>(path);
        CheckAgainst(*shard, index.shards[i], index, path.string());
        corpus->shards_[i] = std::move(shard);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (error == nullptr) error = std::current_exception();
        next = index.shards.size();
      }
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int i = 1; i < std::min<int64_t>(num_threads, std::ssize(index.shards)); ++i) threads.emplace_back(work);
    work();
  }
  if (error != nullptr) std::rethrow_exception(error);
  corpus->first_document_ = {0};
  for (const auto& shard : corpus->shards_) {
    corpus->first_document_.push_back(corpus->first_document_.back() + std::ssize(shard->view().documents));
    corpus->num_tokens_ += static_cast<int64_t>(shard->view().num_tokens);
  }
  return corpus;
}

std::pair<const ShardView*, int64_t> Corpus::Find(int64_t document) const {
  FATHOM_CHECK(document >= 0 && document < num_documents(), "document {} of {}", document, num_documents());
  const auto after = std::upper_bound(first_document_.begin(), first_document_.end(), document);
  const size_t shard = static_cast<size_t>(after - first_document_.begin()) - 1;
  return {&shards_[shard]->view(), document - first_document_[shard]};
}

void Corpus::AppendTokens(int64_t document, std::vector<int32_t>& out) const {
  const auto [view, index] = Find(document);
  view->Append(view->Begin(index), view->documents[static_cast<size_t>(index)].end, out);
}
int64_t Corpus::TokensOf(int64_t document) const {
  const auto [view, index] = Find(document);
  return static_cast<int64_t>(view->documents[static_cast<size_t>(index)].end - view->Begin(index));
}
uint64_t Corpus::TextHashOf(int64_t document) const {
  const auto [view, index] = Find(document);
  return view->documents[static_cast<size_t>(index)].text_hash;
}
int64_t Corpus::TextBytesOf(int64_t document) const {
  const auto [view, index] = Find(document);
  return static_cast<int64_t>(view->documents[static_cast<size_t>(index)].text_bytes);
}

bool IsHeldOut(uint64_t text_hash, double rate) {
  constexpr uint64_t kSplitSeed = 0x68656C64;  // the hash itself orders other things
  const uint64_t mixed = HashBytes({reinterpret_cast<const char*>(&text_hash), sizeof text_hash}, kSplitSeed);
  return static_cast<double>(mixed >> 11) * 0x1p-53 < rate;
}

}  // namespace fathom
