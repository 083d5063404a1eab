// Anthropic's Messages API: its requests in the form of the chat endpoint, its answers and its errors.
#pragma once

#include <memory>
#include <string>

#include "serve/answer_format.h"
#include "serve/api_error.h"
#include "serve/generation_call.h"

namespace fathom {

// POST /v1/messages. `max_tokens` is required there, and not where tokens are only counted.
GenerationCall ReadMessagesCall(const OrderedJson& body, const ServedModel& model, bool counts_only);
std::unique_ptr<AnswerFormat> NewMessagesFormat(const GenerationCall& call, const ServedModel& model);
// {"type": "error", "error": {"type", "message"}}.
std::string MessagesErrorBody(const ApiError& error);

}  // namespace fathom
