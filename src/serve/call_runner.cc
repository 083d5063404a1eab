#include "serve/call_runner.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

#include "base/clock.h"
#include "serve/api_error.h"

namespace fathom {
namespace {

class CallRunner : public std::enable_shared_from_this<CallRunner> {
 public:
  CallRunner(GenerationCall call, bool is_chat, FormatFactory new_format, const CallContext& context, const Responder& responder)
      : call_(std::move(call)), context_(context), responder_(responder), format_(new_format(call_, *context.model)) {
    const Tokenizer& tokenizer = *context.model->tokenizer;
    const ChatOutputOptions options{
        .reasoning = call_.parses_reasoning && (call_.starts_in_reasoning || tokenizer.TokenToId("</think>") >= 0),
        .starts_in_reasoning = call_.parses_reasoning && call_.starts_in_reasoning,
        .tools = call_.has_tools,
        .calls_are_whole = call_.keeps_calls};
    const int64_t num_choices = std::ssize(call_.prompts) * call_.request.num_samples;
    for (int64_t i = 0; i < num_choices; ++i) {
      choices_.push_back({.index = i, .prompt_idx = static_cast<size_t>(i / call_.request.num_samples)});
      outputs_.emplace_back(is_chat ? options : ChatOutputOptions{});
    }
    num_open_ = std::ssize(call_.prompts);
  }

  void Start() {
    try {
      for (size_t i = 0; i < call_.prompts.size(); ++i) ids_.push_back(Submit(i));
    } catch (...) {  // nothing of those before is to be told
      is_over_ = true;
      CancelAll();
      throw;
    }
    responder_.OnGone([self = shared_from_this()] {
      self->is_over_ = true;
      self->CancelAll();
    });
    if (call_.stream) {
      HttpHeaders headers = context_.headers;
      headers.emplace_back("Cache-Control", "no-cache");
      headers.emplace_back("X-Accel-Buffering", "no");
      responder_.Begin(200, "text/event-stream; charset=utf-8", std::move(headers));
      responder_.Write(format_->StreamBegin());
    }
  }

 private:
  RequestId Submit(size_t prompt_idx) {
    GenerationRequest request = call_.request;
    request.prompt = call_.prompts[prompt_idx];
    // On the engine's thread: measured here, told on the connection's.
    auto last = std::make_shared<std::vector<double>>(static_cast<size_t>(request.num_samples), 0.0);
    const double begun = MonotonicSeconds();
    Metrics* metrics = context_.metrics;
    Engine::Callbacks callbacks;
    auto finish = std::make_shared<FinishReason>(FinishReason::kNone);
    callbacks.on_delta = [self = shared_from_this(), prompt_idx, last, begun, metrics, finish](const Delta& delta) {
      if (!delta.tokens.empty()) {
        double& before = (*last)[static_cast<size_t>(delta.index)];
        const double now = MonotonicSeconds();
        if (before > 0) metrics->ObserveToken(now - before);
        else if (delta.index == 0) metrics->ObserveFirstToken(now - begun);
        before = now;
      }
      if (delta.finish != FinishReason::kNone) *finish = delta.finish;
      self->responder_.Post([self, prompt_idx, delta] { self->OnDelta(prompt_idx, delta); });
      return true;
    };
    callbacks.on_end = [self = shared_from_this(), begun, metrics, finish](const Timings& timings, const std::exception_ptr& error) {
      const char* reason = error ? "error" : *finish == FinishReason::kLength ? "length" : *finish == FinishReason::kStop ? "stop" : "abort";
      metrics->ObserveRequest({.timings = timings, .seconds = MonotonicSeconds() - begun, .finish = reason});
      self->responder_.Post([self, timings, error] { self->OnEnd(timings, error); });
    };
    const auto id = context_.model->engine->Submit(std::move(request), std::move(callbacks));
    if (!id) throw ApiError(429, "too many requests wait already; try again later", "", "queue_full");
    return *id;
  }

  void CancelAll() {
    for (const RequestId id : ids_) context_.model->engine->Cancel(id);
  }

  void OnDelta(size_t prompt_idx, const Delta& delta) {
    if (is_over_) return;
    const auto index = static_cast<size_t>(static_cast<int64_t>(prompt_idx) * call_.request.num_samples + delta.index);
    if (!delta.prompt_logprobs.empty()) {  // with the first sample; every one of them echoes the prompt
      for (int64_t i = 0; i < call_.request.num_samples; ++i) {
        auto& known = choices_[static_cast<size_t>(static_cast<int64_t>(prompt_idx) * call_.request.num_samples + i)].prompt_logprobs;
        known.insert(known.end(), delta.prompt_logprobs.begin(), delta.prompt_logprobs.end());
      }
      if (delta.tokens.empty() && delta.finish == FinishReason::kNone) return;
    }
    ChoiceState& choice = choices_[index];
    ChatOutput& output = outputs_[index];
    Append(choice.events, output.Push(delta.text));
    choice.tokens.insert(choice.tokens.end(), delta.tokens.begin(), delta.tokens.end());
    choice.logprobs.insert(choice.logprobs.end(), delta.logprobs.begin(), delta.logprobs.end());
    choice.num_tokens += std::ssize(delta.tokens);
    if (delta.finish != FinishReason::kNone) {
      Append(choice.events, output.Finish());
      choice.finish = delta.finish;
      choice.stop_string = delta.stop_string;
      choice.has_tool_calls = output.has_tool_calls();
    }
    if (call_.on_answer && index == 0 && choice.finish != FinishReason::kCancelled) Keep(choice);
    if (!call_.stream) return;
    if (choice.events.empty() && choice.finish == FinishReason::kNone) return;
    responder_.Write(format_->StreamPiece(choice));
    choice.has_begun = true;
    for (const OutputEvent& event : choice.events) choice.text_bytes += std::ssize(event.text);
    choice.events.clear();
    choice.tokens.clear();
    choice.logprobs.clear();
  }

  // A stream forgets what it has shown: what the answer was is gathered here for on_answer.
  void Keep(const ChoiceState& choice) {
    kept_.insert(kept_.end(), choice.events.begin() + (call_.stream ? 0 : std::ssize(kept_)), choice.events.end());
    if (choice.finish != FinishReason::kNone) call_.on_answer(AssistantMessage(kept_));
  }

  static void Append(std::vector<OutputEvent>& events, std::vector<OutputEvent> more) {
    events.insert(events.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  }

  void OnEnd(const Timings& timings, const std::exception_ptr& error) {
    usage_.prompt_tokens += timings.prompt_tokens;
    usage_.cached_tokens += timings.prompt_tokens - timings.prefilled_tokens;
    usage_.completion_tokens += timings.completion_tokens;
    usage_.timings = timings;
    if (is_over_) return;
    if (error) return Fail(error);
    if (--num_open_ > 0) return;
    is_over_ = true;
    if (call_.stream) {
      responder_.Write(format_->StreamEnd(usage_));
      responder_.End();
    } else {
      responder_.Send(200, "application/json", DumpJson(format_->Whole(choices_, usage_)), context_.headers);
    }
  }

  void Fail(const std::exception_ptr& error) {
    is_over_ = true;
    CancelAll();
    ApiError told(500, "the server failed in this request");
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& e) {
      told = ToApiError(e);
    } catch (...) {
    }
    if (call_.stream) {
      responder_.Write(format_->StreamError(ErrorBody(told)));
      responder_.End();
    } else {
      responder_.Send(told.status(), "application/json", ErrorBody(told), context_.headers);
    }
  }

  const GenerationCall call_;
  const CallContext context_;
  const Responder responder_;
  std::unique_ptr<AnswerFormat> format_;
  std::vector<ChoiceState> choices_;
  std::vector<ChatOutput> outputs_;
  std::vector<OutputEvent> kept_;
  std::vector<RequestId> ids_;
  CallUsage usage_;
  int64_t num_open_ = 0;
  bool is_over_ = false;
};

}  // namespace

void RunCall(GenerationCall call, bool is_chat, FormatFactory new_format, const CallContext& context, const Responder& responder) {
  std::make_shared<CallRunner>(std::move(call), is_chat, new_format, context, responder)->Start();
}

}  // namespace fathom
