// llama.cpp's /completion and our own /generate.
#include <algorithm>

#include "serve/answer_format.h"

namespace fathom {
namespace {

OrderedJson TimingsJson(const CallUsage& usage) {
  const Timings& t = usage.timings;
  const auto per_token = [](double seconds, int64_t count) { return count > 0 ? 1e3 * seconds / static_cast<double>(count) : 0.0; };
  const auto rate = [](double seconds, int64_t count) { return seconds > 0 ? static_cast<double>(count) / seconds : 0.0; };
  return {{"prompt_n", t.prefilled_tokens},
          {"prompt_ms", 1e3 * t.prefill_s},
          {"prompt_per_token_ms", per_token(t.prefill_s, t.prefilled_tokens)},
          {"prompt_per_second", rate(t.prefill_s, t.prefilled_tokens)},
          {"predicted_n", usage.completion_tokens},
          {"predicted_ms", 1e3 * t.decode_s},
          {"predicted_per_token_ms", per_token(t.decode_s, t.decoded_tokens)},
          {"predicted_per_second", rate(t.decode_s, t.decoded_tokens)}};
}

class LlamaFormat : public AnswerFormat {
 public:
  explicit LlamaFormat(const GenerationCall& call) : call_(call) {}

  std::string StreamPiece(const ChoiceState& piece) override {
    if (piece.finish != FinishReason::kNone) {
      last_ = piece;
      return "";
    }
    return ServerSentEvent({{"index", 0}, {"content", JoinText(piece.events, OutputEvent::kContent)}, {"tokens", piece.tokens}, {"stop", false}});
  }
  std::string StreamEnd(const CallUsage& usage) override { return ServerSentEvent(Final(last_, usage)); }
  OrderedJson Whole(const std::vector<ChoiceState>& choices, const CallUsage& usage) override { return Final(choices[0], usage); }

 private:
  OrderedJson Final(const ChoiceState& choice, const CallUsage& usage) const {
    const bool is_word = choice.finish == FinishReason::kStop && !choice.stop_string.empty();
    const char* stop_type = choice.finish == FinishReason::kLength ? "limit" : is_word ? "word" : choice.finish == FinishReason::kStop ? "eos" : "none";
    return {{"index", 0},
            {"content", JoinText(choice.events, OutputEvent::kContent)},
            {"tokens", choice.tokens},
            {"id_slot", 0},
            {"stop", true},
            {"model", call_.model},
            {"tokens_predicted", usage.completion_tokens},
            {"tokens_evaluated", usage.prompt_tokens},
            {"tokens_cached", usage.cached_tokens},
            {"has_new_line", JoinText(choice.events, OutputEvent::kContent).find('\n') != std::string::npos},
            {"truncated", false},
            {"stop_type", stop_type},
            {"stopping_word", choice.stop_string},
            {"timings", TimingsJson(usage)}};
  }
  const GenerationCall& call_;
  ChoiceState last_;
};

class GenerateFormat : public AnswerFormat {
 public:
  std::string StreamPiece(const ChoiceState& piece) override { return ServerSentEvent(Choice(piece)); }
  std::string StreamEnd(const CallUsage& usage) override { return ServerSentEvent({{"usage", UsageJson(usage)}}) + "data: [DONE]\n\n"; }
  OrderedJson Whole(const std::vector<ChoiceState>& choices, const CallUsage& usage) override {
    OrderedJson body = Choice(choices[0]);
    body.erase("index");
    if (choices.size() > 1) {
      body["choices"] = OrderedJson::array();
      for (const ChoiceState& choice : choices) body["choices"].push_back(Choice(choice));
    }
    body["usage"] = UsageJson(usage);
    return body;
  }

 private:
  static OrderedJson Choice(const ChoiceState& choice) {
    const char* finish = choice.finish == FinishReason::kStop ? "stop" : choice.finish == FinishReason::kLength ? "length" : "abort";
    return {{"index", choice.index},
            {"text", JoinText(choice.events, OutputEvent::kContent)},
            {"tokens", choice.tokens},
            {"finish_reason", choice.finish == FinishReason::kNone ? OrderedJson() : OrderedJson(finish)}};
  }
};

}  // namespace

std::unique_ptr<AnswerFormat> NewLlamaFormat(const GenerationCall& call) { return std::make_unique<LlamaFormat>(call); }
std::unique_ptr<AnswerFormat> NewGenerateFormat() { return std::make_unique<GenerateFormat>(); }

}  // namespace fathom
