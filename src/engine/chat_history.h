// The messages of a conversation and what of them is said to the model: whole turns, the newest that fit, the system prompt always.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "base/json.h"

namespace fathom {

// Messages that the model is given: the system message if there is one, then the newest turns (a turn begins with a user's message and ends
// before the next one), at most `max_turns` (0: any number), and as many as `fits` accepts. The last turn is always there; the result does not fit only if it
// alone does not. `messages` is an array of {"role", "content"}.
OrderedJson CutHistory(const OrderedJson& messages, int64_t max_turns, const std::function<bool(const OrderedJson&)>& fits);

// The number of turns: of messages with role user.
int64_t CountTurns(const OrderedJson& messages);

// A conversation on disk: {"messages": [...]}; a bare array of messages is read too. Throws UserError naming the file and the message that is
// not {"role": text, "content": text} (an assistant's that calls tools needs no content).
void SaveConversation(const std::filesystem::path& path, const OrderedJson& messages);
OrderedJson LoadConversation(const std::filesystem::path& path);

// Checks an array of messages (`what` names it in errors): each an object with a text as role.
void CheckMessages(const OrderedJson& messages, const std::string& what);

}  // namespace fathom
