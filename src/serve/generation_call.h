// What the endpoints that generate ask for, in one form.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/generate.h"
#include "serve/answer_grammar.h"
#include "serve/json_fields.h"
#include "serve/served_model.h"

namespace fathom {

struct GenerationCall {
  std::string id, model;
  int64_t created = 0;
  GenerationRequest request = {};                  // without its prompt
  std::vector<std::vector<int32_t>> prompts = {};  // each gets request.num_samples answers
  bool stream = false;
  bool include_usage = false;
  bool echo = false;                               // completions: the prompt is part of the text
  std::vector<std::string> prompt_texts = {};      // where echo needs them
  bool has_tools = false;                          // chat: tool calls are looked for in the answer
  OrderedJson tools = {};
  AnswerGrammar grammar = {};                      // compiled into request.grammar before the call is run
  bool keeps_calls = false;                        // chat: the grammar lets no call but whole ones
  bool starts_in_reasoning = false;                // chat: the prompt ends inside of a thought
  bool parses_reasoning = true;
  std::function<void(const OrderedJson& message)> on_answer = {};  // chat: told the whole answer of the first choice before the client is told its end
};

// The fields that every endpoint takes: temperature, top_p, top_k, min_p, repetition_penalty, presence_penalty, frequency_penalty, logit_bias, seed,
// stop, stop_token_ids, ignore_eos, n, user, priority, skip_special_tokens, stream, stream_options. Unknown fields are tolerated.
void ReadCommonFields(const JsonFields& fields, const ServedModel& model, GenerationCall& call);

// Checks the prompt's length and the ids, and cuts the answer's length to what fits. `most_new` below 0: as long as fits.
void FitIntoContext(const ServedModel& model, int64_t most_new, GenerationCall& call);

// A prompt or several: a text, an array of texts, of token ids, or of arrays of them; into call.prompts and call.prompt_texts.
void ReadPrompts(const JsonFields& fields, const char* name, const ServedModel& model, GenerationCall& call);

// The name of the model that a body asks for; 404 for one that is not served here.
std::string ReadModelName(const JsonFields& fields, const ServedModel& model);

// POST /v1/chat/completions, /v1/completions, /completion and /infill of llama.cpp, /generate.
GenerationCall ReadChatCall(const OrderedJson& body, const ServedModel& model);
GenerationCall ReadCompletionCall(const OrderedJson& body, const ServedModel& model);
GenerationCall ReadLlamaCall(const OrderedJson& body, const ServedModel& model);
GenerationCall ReadInfillCall(const OrderedJson& body, const ServedModel& model);
GenerationCall ReadGenerateCall(const OrderedJson& body, const ServedModel& model);

// The prompt of a body's "messages" (with "tools", "chat_template_kwargs", "add_generation_prompt") by the chat template.
std::string RenderMessages(const JsonFields& fields, const ServedModel& model, bool add_generation_prompt);

// Tokens that ask for the text between prefix and suffix. 400 where the vocabulary has none of the known markers.
std::vector<int32_t> InfillPrompt(const ServedModel& model, const std::string& prefix, const std::string& suffix);

}  // namespace fathom
