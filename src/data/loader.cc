#include "data/loader.h"

#include <algorithm>

#include "base/error.h"
#include "data/corpus.h"
#include "data/document_order.h"
#include "data/fim.h"
#include "data/random_order.h"

namespace fathom {
namespace {

constexpr uint64_t kFimStream = 2;  // of RandomBits, beside others of the same seed

const Json& Part(const Json& json, const char* key) {
  const auto found = json.find(key);
  FATHOM_USER_CHECK(found != json.end(), "position in the data: '{}' is missing", key);
  return *found;
}

const char* NameOf(Split split) { return split == Split::kTrain ? "train" : "held_out"; }

}  // namespace

class DataLoader::State {
 public:
  State(std::shared_ptr<const Dataset> dataset, const LoaderOptions& options)
      : dataset_(std::move(dataset)), options_(options), order_(dataset_, options.seed, options.split),
        fim_(options.split == Split::kTrain ? dataset_->spec.fim : FimSpec{}, dataset_->tokenizer) {
    FATHOM_USER_CHECK(options.sequence_length > 0 && options.sequence_length <= INT32_MAX, "the sequence length must be from 1 to {}, got {}", INT32_MAX, options.sequence_length);
    FATHOM_CHECK(options.num_ranks > 0 && options.rank >= 0 && options.rank < options.num_ranks, "rank {} of {}", options.rank, options.num_ranks);
    const Tokenizer& tokenizer = *dataset_->tokenizer;
    token_bytes_.resize(static_cast<size_t>(tokenizer.vocab_size()));
    for (size_t id = 0; id < token_bytes_.size(); ++id) token_bytes_[id] = BytesOf(static_cast<int32_t>(id));
    for (const DatasetSource& source : dataset_->sources)
      domain_of_.push_back(std::find(dataset_->domains.begin(), dataset_->domains.end(), source.spec.domain) - dataset_->domains.begin());
    FATHOM_USER_CHECK(DocumentOrder(order_).Next().has_value(), "no document is {} (data.held_out is {})", options.split == Split::kTrain ? "left to train on" : "held out",
                      dataset_->spec.held_out);
  }

  std::optional<Batch> Next(int64_t num_rows) {
    FATHOM_CHECK(num_rows > 0, "{} rows", num_rows);
    Batch batch;
    batch.domain_tokens.resize(dataset_->domains.size());
    for (int64_t row = 0; row < num_rows && HaveDocument(); ++row) ReadRow(row % options_.num_ranks == options_.rank ? &batch : nullptr);
    if (batch.tokens.empty() && !HaveDocument()) return std::nullopt;
    return batch;
  }

  Json Position() const {
    Json json = {{"version", 1}, {"dataset", dataset_->fingerprint}, {"seed", options_.seed}, {"split", NameOf(options_.split)},
                 {"tokens_read", num_read_}, {"sources", order_.Position()}, {"document", nullptr}};
    if (offset_ < std::ssize(document_))
      json["document"] = {{"source", place_.source}, {"epoch", place_.epoch}, {"index", place_.document}, {"fim", is_fim_}, {"bos", has_bos_}, {"offset", offset_}};
    return json;
  }

  void Seek(const Json& json) {
    FATHOM_USER_CHECK(json.is_object() && PositionCount(json, "version") == 1, "position in the data: is none of version 1");
    FATHOM_USER_CHECK(Part(json, "dataset") == dataset_->fingerprint,
                      "the position is one in other data: its sources, their files, their order or the tokenizer are not the same; start a new run, or go back to that data");
    FATHOM_USER_CHECK(Part(json, "seed") == options_.seed, "the position belongs to the seed {}, this run's is {}", Part(json, "seed").dump(), options_.seed);
    FATHOM_USER_CHECK(Part(json, "split") == NameOf(options_.split), "position in the data: is not one of the split '{}'", NameOf(options_.split));
    const int64_t num_read = PositionCount(json, "tokens_read");
    order_.Seek(Part(json, "sources"));
    document_.clear();
    offset_ = 0;
    num_read_ = num_read;
    if (const Json& document = Part(json, "document"); !document.is_null()) {
      FATHOM_USER_CHECK(document.is_object(), "position in the data: 'document' must be an object");
      place_ = {.source = PositionCount(document, "source"), .epoch = PositionCount(document, "epoch"), .document = PositionCount(document, "index")};
      FATHOM_USER_CHECK(place_.source < std::ssize(dataset_->sources) && place_.document < dataset_->sources[static_cast<size_t>(place_.source)].corpus->num_documents(),
                        "position in the data: there is no document {} of source {}", place_.document, place_.source);
      Materialize(Part(document, "fim") == true, Part(document, "bos") == true);
      offset_ = PositionCount(document, "offset");
      FATHOM_USER_CHECK(offset_ < std::ssize(document_), "position in the data: is at token {} of a document of {}", offset_, document_.size());
    }
  }

  int64_t num_read() const { return num_read_; }
  std::vector<double> EpochsRead() const {
    std::vector<double> epochs;
    for (int64_t i = 0; i < std::ssize(dataset_->sources); ++i) epochs.push_back(order_.EpochsRead(i));
    return epochs;
  }
  const Dataset& dataset() const { return *dataset_; }

 private:
  int32_t BytesOf(int32_t id) const {
    try {
      return dataset_->tokenizer->IsSpecial(id) ? 0 : static_cast<int32_t>(dataset_->tokenizer->TokenBytes(id).size());
    } catch (const UserError&) {  // a hole in the vocabulary
      return 0;
    }
  }

  // Fills document_ with the tokens of place_.
  void Materialize(bool is_fim, bool with_bos) {
    const Tokenizer& tokenizer = *dataset_->tokenizer;
    is_fim_ = is_fim;
    has_bos_ = with_bos;
    offset_ = 0;
    document_.clear();
    if (with_bos) document_.push_back(tokenizer.bos_id());
    const Corpus& corpus = *dataset_->sources[static_cast<size_t>(place_.source)].corpus;
    if (is_fim) {
      std::vector<int32_t> plain;
      corpus.AppendTokens(place_.document, plain);
      const std::vector<int32_t> rearranged = fim_.Rearrange(plain, FimBits());
      document_.insert(document_.end(), rearranged.begin(), rearranged.end());
    } else {
      corpus.AppendTokens(place_.document, document_);
    }
    document_.push_back(tokenizer.eos_id());
  }
  uint64_t FimBits() const {
    return RandomBits({options_.seed, kFimStream, static_cast<uint64_t>(place_.source), static_cast<uint64_t>(place_.epoch), static_cast<uint64_t>(place_.document)});
  }

  // Whether document_ has a token left, after going on to the next document where it has none.
  bool HaveDocument() {
    if (offset_ < std::ssize(document_)) return true;
    const auto place = order_.Next();
    if (!place) return false;
    place_ = *place;
    Materialize(fim_.Chooses(FimBits()), dataset_->spec.add_bos);
    order_.Add(place_.source, std::ssize(document_));
    return true;
  }

  // A row of sequence_length tokens, fewer at the end of everything; into `batch`, or passed over.
  void ReadRow(Batch* batch) {
    const bool mask = dataset_->spec.document_mask;
    int64_t num_tokens = 0, position = 0;
    while (num_tokens < options_.sequence_length && HaveDocument()) {
      const int64_t take = std::min(options_.sequence_length - num_tokens, std::ssize(document_) - offset_);
      if (mask) position = 0;
      if (batch != nullptr) {
        batch->tokens.insert(batch->tokens.end(), document_.begin() + offset_, document_.begin() + offset_ + take);
        for (int64_t i = 0; i < take; ++i) batch->positions.push_back(position + i);
        batch->domain_tokens[static_cast<size_t>(domain_of_[static_cast<size_t>(place_.source)])] += take;
        for (int64_t i = offset_ + 1; i <= offset_ + take && i < std::ssize(document_); ++i) AddTarget(*batch, document_[static_cast<size_t>(i)]);
      }
      offset_ += take;
      num_tokens += take;
      position += take;
      const bool document_ends = offset_ == std::ssize(document_);
      if (batch != nullptr && mask) batch->lens.push_back(static_cast<int32_t>(take));
      if (!document_ends) continue;
      // What follows a document's end is the next document, which with a mask it cannot know.
      const bool more = HaveDocument();
      if (batch == nullptr) continue;
      if (more && !mask) AddTarget(*batch, document_[0]);
      else batch->targets.push_back(kNoLoss);
    }
    num_read_ += num_tokens;
    if (batch == nullptr) return;
    ++batch->num_rows;
    if (!mask) batch->lens.push_back(static_cast<int32_t>(num_tokens));
  }

  void AddTarget(Batch& batch, int32_t token) const {
    batch.targets.push_back(token);
    ++batch.num_targets;
    batch.target_bytes += token_bytes_[static_cast<size_t>(token)];
  }

  std::shared_ptr<const Dataset> dataset_;
  LoaderOptions options_;
  DocumentOrder order_;
  FillInMiddle fim_;
  std::vector<int32_t> token_bytes_;  // of each id
  std::vector<int64_t> domain_of_;    // of each source
  DocumentPlace place_;
  std::vector<int32_t> document_;     // the current document with its EOS
  int64_t offset_ = 0;                // of the next token in it
  bool is_fim_ = false, has_bos_ = false;
  int64_t num_read_ = 0;
};

DataLoader::DataLoader(std::shared_ptr<const Dataset> dataset, const LoaderOptions& options) : state_(std::make_unique<State>(std::move(dataset), options)) {}
DataLoader::~DataLoader() = default;
DataLoader::DataLoader(DataLoader&&) noexcept = default;
DataLoader& DataLoader::operator=(DataLoader&&) noexcept = default;

std::optional<Batch> DataLoader::Next(int64_t num_rows) { return state_->Next(num_rows); }
Json DataLoader::Position() const { return state_->Position(); }
void DataLoader::Seek(const Json& position) { state_->Seek(position); }
int64_t DataLoader::num_tokens_read() const { return state_->num_read(); }
std::vector<double> DataLoader::epochs_read() const { return state_->EpochsRead(); }
const Dataset& DataLoader::dataset() const { return state_->dataset(); }

}  // namespace fathom
