#include "data/corpus.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <exception>
#include <mutex>
#include <thread>

#include "base/error.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxCount = int64_t{1} << 50;

class Object {
 public:
  Object(const Json& json, std::string what) : json_(json), what_(std::move(what)) {
    FATHOM_USER_CHECK(json.is_object(), "{}: must be an object, got {}", what_, json.type_name());
  }
  const Json& Get(const char* key) const {
    const auto found = json_.find(key);
    FATHOM_USER_CHECK(found != json_.end(), "{}: '{}' is missing", what_, key);
    return *found;
  }
  int64_t Int(const char* key, int64_t most = kMaxCount) const {
    const Json& value = Get(key);
    FATHOM_USER_CHECK(value.is_number_unsigned() && value.get<uint64_t>() <= static_cast<uint64_t>(most), "{}: '{}' must be an integer from 0 to {}", what_, key, most);
    return value.get<int64_t>();
  }
  const std::string& Text(const char* key) const {
    const Json& value = Get(key);
    FATHOM_USER_CHECK(value.is_string(), "{}: '{}' must be a text, got {}", what_, key, value.type_name());
    return value.get_ref<const std::string&>();
  }
  uint64_t Hex(const char* key) const {
    const std::string& text = Text(key);
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
    FATHOM_USER_CHECK(text.size() == 16 && error == std::errc() && end == text.data() + text.size(), "{}: '{}' must be 16 hexadecimal digits, got '{}'", what_, key, text);
    return value;
  }
  bool Bool(const char* key) const {
    const Json& value = Get(key);
    FATHOM_USER_CHECK(value.is_boolean(), "{}: '{}' must be true or false", what_, key);
    return value.get<bool>();
  }
  const Json& Array(const char* key) const {
    const Json& value = Get(key);
    FATHOM_USER_CHECK(value.is_array(), "{}: '{}' must be an array, got {}", what_, key, value.type_name());
    return value;
  }

 private:
  const Json& json_;
  std::string what_;
};

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
  const Object root(json, what);
  FATHOM_USER_CHECK(root.Text("format") == "fathom-corpus" && root.Int("version") == 1, "{}: is no corpus of version 1", what);
  CorpusIndex index;
  index.tokenizer_hash = root.Hex("tokenizer_hash");
  index.vocab_size = root.Int("vocab_size", INT32_MAX);
  index.text_field = root.Text("text_field");
  index.unit = ParseDocumentUnit(root.Text("documents"), what + ": documents");
  index.shard_tokens = root.Int("shard_tokens");
  for (const Json& item : root.Array("inputs")) {
    const Object input(item, what + ": inputs");
    index.inputs.push_back({input.Text("path"), FormatOf(input.Text("path")), input.Int("bytes"), input.Int("modified_ns", INT64_MAX)});
  }
  for (const Json& item : root.Array("shards")) {
    const Object shard(item, what + ": shards");
    const std::string& file = shard.Text("file");
    FATHOM_USER_CHECK(!file.empty() && file.find('/') == std::string::npos && file.find('\0') == std::string::npos && file[0] != '.',
                      "{}: shards: '{}' is no name of a file in the folder", what, file);
    index.shards.push_back({file, shard.Int("documents"), shard.Int("tokens"), shard.Int("bytes"), shard.Hex("checksum")});
    FATHOM_USER_CHECK(index.num_tokens() <= kMaxCount && index.num_documents() <= kMaxCount && index.num_bytes() <= kMaxCount, "{}: shards: too many tokens", what);
  }
  index.num_rejected = root.Int("rejected");
  index.num_empty = root.Int("empty");
  index.rejects_bytes = root.Int("rejects_bytes");
  index.next_file = root.Int("next_file", std::ssize(index.inputs));
  index.next_record = root.Int("next_record");
  index.complete = root.Bool("complete");
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
