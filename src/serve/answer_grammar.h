// Structured answers: the fields of a request that say what its answer must be a text of, as EBNF.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "serve/json_fields.h"
#include "serve/served_model.h"

namespace fathom {

// Grammars whose texts follow each other (GrammarCompiler::Compile), and the field that asked, for errors.
struct AnswerGrammar {
  std::vector<std::string> parts = {};  // none: any answer
  std::string field = {};
};

// What the answer's content must be, as one EBNF text; empty parts: nothing is asked for.
//   OpenAI     response_format: {type: text | json_object | json_schema, json_schema: {schema}}
//   vLLM       structured_outputs: {json | json_object | regex | choice | grammar}; guided_json, guided_regex, guided_choice, guided_grammar
//   llama.cpp  json_schema, grammar (GBNF)
//   Anthropic  output_format: {type: json_schema, schema}
// Throws a 400 naming the field for a schema or expression that is none or cannot be kept, and where two fields ask.
AnswerGrammar ReadAnswerGrammar(const JsonFields& fields);

// How a model writes its calls of tools (serve/chat_output.h reads them).
enum class ToolFormat { kHermes, kDeepSeekV3, kDeepSeekV31 };
// By what its chat template makes of a call.
ToolFormat ToolFormatOf(const ServedModel& model);

// What `tool_choice` asks for.
struct ToolChoice {
  enum class Kind { kNone, kAuto, kRequired } kind = Kind::kAuto;
  std::string name = {};     // the function that must be called; empty: any
  bool only_one = false;     // no two calls in an answer
};
// Of "tool_choice" and "parallel_tool_calls". Throws a 400, also for a function that is not among `tools` (null: none).
ToolChoice ReadToolChoice(const JsonFields& fields, const OrderedJson& tools);

// The grammar of a chat answer: its content (`content`, where it is asked for), its calls where those are forced or must keep a strict function's schema, and the
// thought before either. A call's arguments keep the function's parameters; where those cannot be kept and the function is not strict, they are any object.
struct ChatGrammar {
  AnswerGrammar content = {};
  OrderedJson tools = {};  // null: none, or none may be called
  ToolChoice choice = {};
  ToolFormat format = ToolFormat::kHermes;
  bool may_think = false;        // a thought may come first
  bool starts_thinking = false;  // the prompt has opened it
};
AnswerGrammar ChatAnswerGrammar(const ChatGrammar& chat);

}  // namespace fathom
