#include "data/document_order.h"

#include <cmath>

#include "base/error.h"
#include "data/corpus.h"
#include "data/random_order.h"

namespace fathom {
namespace {

constexpr uint64_t kOrderStream = 1;  // of RandomBits, beside others of the same seed

}  // namespace

int64_t PositionCount(const Json& json, const char* key) {
  constexpr int64_t kMost = int64_t{1} << 60;
  const auto found = json.find(key);
  const bool fits = found != json.end() && found->is_number_integer() && (found->is_number_unsigned() ? found->get<uint64_t>() <= static_cast<uint64_t>(kMost) : found->get<int64_t>() >= 0);
  FATHOM_USER_CHECK(fits, "position in the data: '{}' must be a count", key);
  return found->get<int64_t>();
}

DocumentOrder::DocumentOrder(std::shared_ptr<const Dataset> dataset, uint64_t seed, Split split)
    : dataset_(std::move(dataset)), seed_(seed), split_(split), cursors_(dataset_->sources.size()) {}

bool DocumentOrder::InSplit(int64_t source, int64_t document) const {
  if (dataset_->spec.held_out == 0) return split_ == Split::kTrain;
  const uint64_t hash = dataset_->sources[static_cast<size_t>(source)].corpus->TextHashOf(document);
  return IsHeldOut(hash, dataset_->spec.held_out) == (split_ == Split::kHeldOut);
}

double DocumentOrder::LimitOf(int64_t source) const {
  return split_ == Split::kHeldOut ? 1 : dataset_->sources[static_cast<size_t>(source)].spec.epochs;
}

std::optional<DocumentPlace> DocumentOrder::NextOf(int64_t source) {
  Cursor& cursor = cursors_[static_cast<size_t>(source)];
  const int64_t num_documents = dataset_->sources[static_cast<size_t>(source)].corpus->num_documents();
  const double limit = LimitOf(source);
  for (int64_t passed = 0; passed <= num_documents; ++passed) {  // a whole epoch without one: the source has none in the split
    if (cursor.next == num_documents) {
      ++cursor.epoch;
      cursor.next = 0;
    }
    if (limit > 0 && static_cast<double>(cursor.epoch) + static_cast<double>(cursor.next) / static_cast<double>(num_documents) >= limit) break;
    const RandomOrder order(static_cast<uint64_t>(num_documents),
                            RandomBits({seed_, kOrderStream, static_cast<uint64_t>(source), static_cast<uint64_t>(cursor.epoch)}));
    const auto document = static_cast<int64_t>(order.At(static_cast<uint64_t>(cursor.next++)));
    if (InSplit(source, document)) return DocumentPlace{source, cursor.epoch, document};
  }
  cursor.ended = true;
  return std::nullopt;
}

std::optional<DocumentPlace> DocumentOrder::Next() {
  while (true) {
    int64_t best = -1;
    double best_time = 0;
    for (int64_t i = 0; i < std::ssize(cursors_); ++i) {
      const Cursor& cursor = cursors_[static_cast<size_t>(i)];
      if (cursor.ended) continue;
      const double time = static_cast<double>(cursor.num_tokens) / dataset_->sources[static_cast<size_t>(i)].share;
      if (best < 0 || time < best_time) {
        best = i;
        best_time = time;
      }
    }
    if (best < 0) return std::nullopt;
    if (auto place = NextOf(best)) return place;
  }
}

double DocumentOrder::EpochsRead(int64_t source) const {
  const Cursor& cursor = cursors_[static_cast<size_t>(source)];
  const int64_t num_documents = dataset_->sources[static_cast<size_t>(source)].corpus->num_documents();
  return static_cast<double>(cursor.epoch) + static_cast<double>(cursor.next) / static_cast<double>(num_documents);
}

Json DocumentOrder::Position() const {
  Json cursors = Json::array();
  for (size_t i = 0; i < cursors_.size(); ++i) {
    const Cursor& cursor = cursors_[i];
    cursors.push_back({{"epoch", cursor.epoch}, {"next", cursor.next}, {"tokens", cursor.num_tokens}, {"share", dataset_->sources[i].share}});
  }
  return cursors;
}

void DocumentOrder::Seek(const Json& position) {
  FATHOM_USER_CHECK(position.is_array() && position.size() == cursors_.size(), "position in the data: must have {} sources", cursors_.size());
  std::vector<Cursor> cursors;
  bool same_shares = true;
  for (size_t i = 0; i < cursors_.size(); ++i) {
    FATHOM_USER_CHECK(position[i].is_object() && position[i].contains("share") && position[i]["share"].is_number(), "position in the data: source {} is no position", i);
    const Cursor cursor{.epoch = PositionCount(position[i], "epoch"), .next = PositionCount(position[i], "next"), .num_tokens = PositionCount(position[i], "tokens")};
    FATHOM_USER_CHECK(cursor.next <= dataset_->sources[i].corpus->num_documents(), "position in the data: source {} is at document {} of {}", i, cursor.next,
                      dataset_->sources[i].corpus->num_documents());
    same_shares = same_shares && position[i]["share"].get<double>() == dataset_->sources[i].share;
    cursors.push_back(cursor);
  }
  if (!same_shares)
    for (Cursor& cursor : cursors) cursor.num_tokens = 0;
  cursors_ = std::move(cursors);
}

}  // namespace fathom
