// One generating request on its way: its prompts go to the engine, what comes back goes to the client.
#pragma once

#include <memory>

#include "serve/answer_format.h"
#include "serve/chat_output.h"
#include "serve/generation_call.h"
#include "serve/http_server.h"
#include "serve/metrics.h"

namespace fathom {

// Makes the format for a call (whose address stays the same while the format lives).
using FormatFactory = std::unique_ptr<AnswerFormat> (*)(const GenerationCall&, const ServedModel&);

struct CallContext {
  const ServedModel* model = nullptr;
  Metrics* metrics = nullptr;
  HttpHeaders headers = {};  // of every answer
};

// Begins the call; everything else happens by itself: the answer, the end, or the cancel when the client leaves. Throws ApiError before the
// first byte of an answer (429 where the queue is full). `is_chat`: the answers are parted into content, thought and tool calls.
void RunCall(GenerationCall call, bool is_chat, FormatFactory new_format, const CallContext& context, const Responder& responder);

}  // namespace fathom
