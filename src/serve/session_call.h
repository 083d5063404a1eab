// Chat requests that name a session: what was said before stands in front, and what is said now is kept.
#pragma once

#include <string>

#include "serve/generation_call.h"
#include "serve/sessions.h"

namespace fathom {

// ReadChatCall for a body with "session_id" (1 to 128 bytes): the session's turns stand between the system message (the request's, else the session's)
// and the request's messages; as many whole turns as fit into the context, the newest ones. The call's on_answer keeps the turn. Throws as
// ReadChatCall, and a 400 for "n" other than 1.
GenerationCall ReadSessionCall(const OrderedJson& body, const ServedModel& model, Sessions& sessions, const std::string& owner);

// {"id", "object": "session", "system", "messages"}. Throws a 404 where there is none.
OrderedJson SessionJson(Sessions& sessions, const std::string& owner, const std::string& id);

}  // namespace fathom
