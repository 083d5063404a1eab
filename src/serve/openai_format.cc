// OpenAI's chat completions and (legacy) completions.
#include <utility>

#include "base/utf8.h"
#include "serve/answer_format.h"

namespace fathom {
namespace {

const char* FinishName(const ChoiceState& choice) {
  switch (choice.finish) {
    case FinishReason::kStop: return choice.has_tool_calls ? "tool_calls" : "stop";
    case FinishReason::kLength: return "length";
    case FinishReason::kCancelled: return "abort";
    case FinishReason::kNone: break;
  }
  return nullptr;
}

OrderedJson FinishJson(const ChoiceState& choice) {
  const char* name = FinishName(choice);
  return name == nullptr ? OrderedJson() : OrderedJson(name);
}

// Clients that pad with -inf would break JSON.
double Finite(double logprob) { return logprob < -9999 ? -9999 : logprob; }

class ChatFormat : public AnswerFormat {
 public:
  ChatFormat(const GenerationCall& call, const ServedModel& model) : call_(call), model_(model) {}

  std::string StreamPiece(const ChoiceState& piece) override {
    std::string bytes;
    if (!piece.has_begun) bytes += Chunk(piece, {{"role", "assistant"}, {"content", ""}}, nullptr, false);
    OrderedJson logprobs = LogprobsJson(piece.logprobs);
    for (const OutputEvent& event : piece.events) {
      OrderedJson delta;
      switch (event.kind) {
        case OutputEvent::kContent: delta = {{"content", event.text}}; break;
        case OutputEvent::kReasoning: delta = {{"reasoning_content", event.text}}; break;
        case OutputEvent::kToolCall:
          delta = {{"tool_calls", {{{"index", event.tool_index}, {"id", event.tool_id}, {"type", "function"},
                                    {"function", {{"name", event.text}, {"arguments", ""}}}}}}};
          break;
        case OutputEvent::kToolArguments:
          delta = {{"tool_calls", {{{"index", event.tool_index}, {"function", {{"arguments", event.text}}}}}}};
          break;
      }
      bytes += Chunk(piece, std::move(delta), std::exchange(logprobs, nullptr), false);
    }
    if (piece.finish != FinishReason::kNone) bytes += Chunk(piece, OrderedJson::object(), std::move(logprobs), true);
    return bytes;
  }

  std::string StreamEnd(const CallUsage& usage) override {
    std::string bytes;
    if (call_.include_usage) {
      OrderedJson chunk = Head("chat.completion.chunk");
      chunk["choices"] = OrderedJson::array();
      chunk["usage"] = UsageJson(usage);
      bytes = ServerSentEvent(chunk);
    }
    return bytes + "data: [DONE]\n\n";
  }

  OrderedJson Whole(const std::vector<ChoiceState>& choices, const CallUsage& usage) override {
    OrderedJson body = Head("chat.completion");
    body["choices"] = OrderedJson::array();
    for (const ChoiceState& choice : choices) {
      body["choices"].push_back({{"index", choice.index}, {"message", AssistantMessage(choice.events)}, {"logprobs", LogprobsJson(choice.logprobs)}, {"finish_reason", FinishJson(choice)}});
    }
    body["usage"] = UsageJson(usage);
    return body;
  }

 private:
  OrderedJson Head(const char* object) const {
    return {{"id", call_.id}, {"object", object}, {"created", call_.created}, {"model", call_.model}};
  }

  std::string Chunk(const ChoiceState& piece, OrderedJson delta, OrderedJson logprobs, bool is_last) const {
    OrderedJson chunk = Head("chat.completion.chunk");
    chunk["choices"] = OrderedJson::array();
    chunk["choices"].push_back({{"index", piece.index}, {"delta", std::move(delta)}, {"logprobs", std::move(logprobs)}, {"finish_reason", is_last ? FinishJson(piece) : OrderedJson()}});
    if (call_.include_usage) chunk["usage"] = nullptr;
    return ServerSentEvent(chunk);
  }

  OrderedJson TokenJson(int32_t token, double logprob) const {
    const std::string bytes = model_.tokenizer->TokenBytes(token);
    OrderedJson numbers = OrderedJson::array();
    for (const char c : bytes) numbers.push_back(static_cast<unsigned char>(c));
    return {{"token", ReplaceInvalidUtf8(bytes)}, {"logprob", Finite(logprob)}, {"bytes", std::move(numbers)}};
  }

  OrderedJson LogprobsJson(const std::vector<TokenLogprob>& logprobs) const {
    if (call_.request.num_logprobs < 0 || logprobs.empty()) return nullptr;
    OrderedJson content = OrderedJson::array();
    for (const TokenLogprob& entry : logprobs) {
      OrderedJson json = TokenJson(entry.token, entry.logprob);
      json["top_logprobs"] = OrderedJson::array();
      for (const auto& [token, logprob] : entry.top) json["top_logprobs"].push_back(TokenJson(token, logprob));
      content.push_back(std::move(json));
    }
    return {{"content", std::move(content)}};
  }

  const GenerationCall& call_;
  const ServedModel& model_;
};

class CompletionFormat : public AnswerFormat {
 public:
  CompletionFormat(const GenerationCall& call, const ServedModel& model) : call_(call), model_(model) {}

  std::string StreamPiece(const ChoiceState& piece) override {
    OrderedJson chunk = Head();
    chunk["choices"].push_back(Choice(piece, call_.echo && !piece.has_begun));
    if (call_.include_usage) chunk["usage"] = nullptr;
    return ServerSentEvent(chunk);
  }

  std::string StreamEnd(const CallUsage& usage) override {
    std::string bytes;
    if (call_.include_usage) {
      OrderedJson chunk = Head();
      chunk["usage"] = UsageJson(usage);
      bytes = ServerSentEvent(chunk);
    }
    return bytes + "data: [DONE]\n\n";
  }

  OrderedJson Whole(const std::vector<ChoiceState>& choices, const CallUsage& usage) override {
    OrderedJson body = Head();
    for (const ChoiceState& choice : choices) body["choices"].push_back(Choice(choice, call_.echo));
    body["usage"] = UsageJson(usage);
    return body;
  }

 private:
  OrderedJson Head() const {
    return {{"id", call_.id}, {"object", "text_completion"}, {"created", call_.created}, {"model", call_.model}, {"choices", OrderedJson::array()}};
  }

  OrderedJson Choice(const ChoiceState& choice, bool with_prompt) const {
    const std::string prompt = with_prompt ? call_.prompt_texts[choice.prompt_idx] : "";
    OrderedJson json = {{"text", prompt + JoinText(choice.events, OutputEvent::kContent)}, {"index", choice.index}};
    json["logprobs"] = Logprobs(choice, with_prompt);
    json["finish_reason"] = FinishJson(choice);
    if (choice.finish == FinishReason::kStop) json["stop_reason"] = choice.stop_string.empty() ? OrderedJson() : OrderedJson(choice.stop_string);
    return json;
  }

  OrderedJson Logprobs(const ChoiceState& choice, bool with_prompt) const {
    if (call_.request.num_logprobs < 0) return nullptr;
    OrderedJson tokens = OrderedJson::array(), values = OrderedJson::array(), tops = OrderedJson::array(), offsets = OrderedJson::array();
    int64_t offset = choice.text_bytes;
    const auto add = [&](int32_t token, const TokenLogprob* entry) {
      const std::string text = TokenText(token);
      tokens.push_back(text);
      values.push_back(entry == nullptr ? OrderedJson() : OrderedJson(Finite(entry->logprob)));
      OrderedJson top;
      if (entry != nullptr && call_.request.num_logprobs > 0) {
        top = OrderedJson::object();
        for (const auto& [id, logprob] : entry->top) top.emplace(TokenText(id), Finite(logprob));
        top.emplace(text, Finite(entry->logprob));
      }
      tops.push_back(std::move(top));
      offsets.push_back(offset);
      offset += static_cast<int64_t>(text.size());
    };
    if (with_prompt) {
      add(call_.prompts[choice.prompt_idx][0], nullptr);
      for (const TokenLogprob& entry : choice.prompt_logprobs) add(entry.token, &entry);
    }
    for (const TokenLogprob& entry : choice.logprobs) add(entry.token, &entry);
    return {{"tokens", std::move(tokens)}, {"token_logprobs", std::move(values)}, {"top_logprobs", std::move(tops)}, {"text_offset", std::move(offsets)}};
  }

  std::string TokenText(int32_t token) const { return ReplaceInvalidUtf8(model_.tokenizer->TokenBytes(token)); }

  const GenerationCall& call_;
  const ServedModel& model_;
};

}  // namespace

std::unique_ptr<AnswerFormat> NewChatFormat(const GenerationCall& call, const ServedModel& model) { return std::make_unique<ChatFormat>(call, model); }
std::unique_ptr<AnswerFormat> NewCompletionFormat(const GenerationCall& call, const ServedModel& model) {
  return std::make_unique<CompletionFormat>(call, model);
}

}  // namespace fathom
