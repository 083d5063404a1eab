#include "text/decoder.h"

#include <algorithm>
#include <utility>

#include "base/utf8.h"
#include "text/byte_alphabet.h"
#include "text/normalizer.h"

namespace fathom {

// One step of a stream: takes texts, hands texts on.
class DecodeStream::Stage {
 public:
  using Next = std::function<void(std::string_view)>;
  virtual ~Stage() = default;
  virtual void Push(std::string_view token, const Next& next) = 0;
  virtual void Finish(const Next& next) {}
};

namespace {

using Stage = DecodeStream::Stage;
using Next = Stage::Next;

class ByteLevelStage : public Stage {
 public:
  void Push(std::string_view token, const Next& next) override {
    if (const auto bytes = BytesOfAlphabetText(token))
      pending_ += *bytes;
    else
      pending_ += token;
    std::string whole;
    TakeWholeCharacters(pending_, whole);
    if (!whole.empty()) next(whole);
  }
  void Finish(const Next& next) override {
    if (!pending_.empty()) next(ReplaceInvalidUtf8(pending_));
    pending_.clear();
  }

 private:
  std::string pending_;
};

class MetaspaceStage : public Stage {
 public:
  explicit MetaspaceStage(const MetaspaceDecoder& step) : step_(step) {}
  void Push(std::string_view token, const Next& next) override {
    const std::string content = first_ && step_.drop_first ? "" : " ";
    first_ = false;
    const auto pattern = SplitPattern::FromText(step_.replacement);
    next(ReplaceMatches(*pattern, token, content));
  }

 private:
  MetaspaceDecoder step_;
  bool first_ = true;
};

class ByteFallbackStage : public Stage {
 public:
  void Push(std::string_view token, const Next& next) override {
    const auto hex = [](char c) {
      if (c >= '0' && c <= '9') return c - '0';
      if (c >= 'A' && c <= 'F') return c - 'A' + 10;
      return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    };
    if (token.size() == 6 && token.starts_with("<0x") && token[5] == '>' && hex(token[3]) >= 0 && hex(token[4]) >= 0) {
      run_.push_back(static_cast<char>(hex(token[3]) * 16 + hex(token[4])));
      return;
    }
    Finish(next);
    next(token);
  }
  // A run is text when all of it is UTF-8, else one U+FFFD a byte.
  void Finish(const Next& next) override {
    if (run_.empty()) return;
    if (IsValidUtf8(run_))
      next(run_);
    else
      for (size_t i = 0; i < run_.size(); ++i) next("\xEF\xBF\xBD");
    run_.clear();
  }

 private:
  std::string run_;
};

class ReplaceStage : public Stage {
 public:
  explicit ReplaceStage(const ReplaceDecoder& step) : step_(step) {}
  void Push(std::string_view token, const Next& next) override { next(ReplaceMatches(*step_.pattern, token, step_.content)); }

 private:
  ReplaceDecoder step_;
};

// `text` without up to start (stop) times `character` at its begin (end).
std::string_view Stripped(std::string_view text, const StripDecoder& step) {
  for (size_t i = 0; i < step.start && text.starts_with(step.character); ++i) text.remove_prefix(step.character.size());
  for (size_t i = 0; i < step.stop && text.ends_with(step.character); ++i) text.remove_suffix(step.character.size());
  return text;
}

class StripTokenStage : public Stage {
 public:
  explicit StripTokenStage(const StripDecoder& step) : step_(step) {}
  void Push(std::string_view token, const Next& next) override { next(Stripped(token, step_)); }

 private:
  StripDecoder step_;
};

// Strip of a text that comes in parts (whole characters each).
class StripStreamStage : public Stage {
 public:
  explicit StripStreamStage(const StripDecoder& step) : step_(step), start_left_(step.start) {}
  void Push(std::string_view part, const Next& next) override {
    while (start_left_ > 0 && part.starts_with(step_.character)) {
      part.remove_prefix(step_.character.size());
      --start_left_;
    }
    if (part.empty()) return;
    start_left_ = 0;
    if (step_.stop == 0) return next(part);
    held_ += part;
    // What may be cut at the end is held back.
    size_t end = held_.size();
    for (size_t i = 0; i < step_.stop && std::string_view(held_).substr(0, end).ends_with(step_.character); ++i)
      end -= step_.character.size();
    if (end > 0) next(std::string_view(held_).substr(0, end));
    held_.erase(0, end);
  }

 private:
  StripDecoder step_;
  size_t start_left_;
  std::string held_;  // copies of the character, at most `stop`
};

// Any step on a text that comes in parts: waits for all of it.
class WholeTextStage : public Stage {
 public:
  explicit WholeTextStage(std::unique_ptr<Stage> inner) : inner_(std::move(inner)) {}
  void Push(std::string_view part, const Next& next) override { text_ += part; }
  void Finish(const Next& next) override {
    if (!text_.empty()) inner_->Push(text_, next);
    inner_->Finish(next);
    text_.clear();
  }

 private:
  std::unique_ptr<Stage> inner_;
  std::string text_;
};

class JoinStage : public Stage {
 public:
  void Push(std::string_view token, const Next& next) override {
    if (!first_) next(" ");
    first_ = false;
    next(token);
  }

 private:
  bool first_ = true;
};

struct MakeStage {
  std::unique_ptr<Stage> operator()(const ByteLevelDecoder&) const { return std::make_unique<ByteLevelStage>(); }
  std::unique_ptr<Stage> operator()(const MetaspaceDecoder& step) const { return std::make_unique<MetaspaceStage>(step); }
  std::unique_ptr<Stage> operator()(const ByteFallbackDecoder&) const { return std::make_unique<ByteFallbackStage>(); }
  std::unique_ptr<Stage> operator()(const FuseDecoder&) const { return nullptr; }
  std::unique_ptr<Stage> operator()(const ReplaceDecoder& step) const { return std::make_unique<ReplaceStage>(step); }
  std::unique_ptr<Stage> operator()(const StripDecoder& step) const { return std::make_unique<StripTokenStage>(step); }
  std::unique_ptr<Stage> operator()(const JoinDecoder&) const { return std::make_unique<JoinStage>(); }
};

}  // namespace

DecodeStream::DecodeStream(const std::vector<DecoderStep>& steps) {
  bool fused = false;  // from here on all tokens are one text
  for (const DecoderStep& step : steps) {
    std::unique_ptr<Stage> stage = std::visit(MakeStage(), step);
    if (stage != nullptr) {
      if (const auto* strip = std::get_if<StripDecoder>(&step); fused && strip != nullptr)
        stage = std::make_unique<StripStreamStage>(*strip);
      else if (fused)
        stage = std::make_unique<WholeTextStage>(std::move(stage));
      stages_.push_back(std::move(stage));
    }
    fused = fused || std::holds_alternative<FuseDecoder>(step) || std::holds_alternative<ByteLevelDecoder>(step);
  }
}

DecodeStream::DecodeStream(DecodeStream&&) noexcept = default;
DecodeStream::~DecodeStream() = default;

namespace {

// Pushes into stage `idx` of a chain that ends in `text`.
void PushFrom(const std::vector<std::unique_ptr<Stage>>& stages, size_t idx, std::string_view token, std::string& text) {
  if (idx == stages.size()) {
    text += token;
    return;
  }
  stages[idx]->Push(token, [&](std::string_view out) { PushFrom(stages, idx + 1, out, text); });
}

}  // namespace

void DecodeStream::Push(std::string_view token, std::string& text) { PushFrom(stages_, 0, token, text); }

void DecodeStream::Finish(std::string& text) {
  for (size_t idx = 0; idx < stages_.size(); ++idx)
    stages_[idx]->Finish([&](std::string_view out) { PushFrom(stages_, idx + 1, out, text); });
}

}  // namespace fathom
