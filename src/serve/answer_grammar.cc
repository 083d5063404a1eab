#include "serve/answer_grammar.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/error.h"
#include "base/utf8.h"
#include "engine/ebnf.h"
#include "engine/regex_grammar.h"
#include "engine/schema_grammar.h"
#include "serve/api_error.h"

namespace fathom {
namespace {

constexpr size_t kMostChoices = 1000;
constexpr int64_t kMostTools = 128;

// Runs `work`; what it finds wrong with its grammar is a 400 for `field`.
template <typename Work>
auto ForField(const std::string& field, Work&& work) {
  try {
    return work();
  } catch (const UserError& error) {
    throw ApiError(400, error.what(), field);
  }
}

std::string SchemaText(const OrderedJson& given, const std::string& field) {
  OrderedJson schema = given;
  if (schema.is_string()) schema = ForField(field, [&] { return ParseOrderedJson(given.get<std::string>(), "'" + field + "'"); });
  return ForField(field, [&] {
    EbnfWriter writer;
    const std::string root = SchemaToEbnf(schema, writer, "'" + field + "'");
    return writer.Text(root);
  });
}

std::string AnyObjectText() {
  EbnfWriter writer;
  const std::string object = writer.Json("object");
  return writer.Text(object);
}

std::string TextOf(const OrderedJson& value, const std::string& field) {
  if (!value.is_string() || value.get<std::string>().empty()) ThrowBadField(field, "'{}' must be a text, got {}", field, Shown(value));
  return value.get<std::string>();
}

std::string RegexText(const OrderedJson& value, const std::string& field) {
  return ForField(field, [&] { return "root ::= " + RegexToEbnf(TextOf(value, field), RegexPlace::kText, "'" + field + "'") + "\n"; });
}

std::string ChoiceText(const OrderedJson& value, const std::string& field) {
  if (!value.is_array() || value.empty() || value.size() > kMostChoices) ThrowBadField(field, "'{}' must be an array of 1 to {} texts, got {}", field, kMostChoices, Shown(value));
  std::vector<std::string> choices;
  for (const OrderedJson& choice : value) {
    const std::string text = TextOf(choice, field);
    if (text.find('\0') != std::string::npos) ThrowBadField(field, "'{}' holds a zero byte", field);
    choices.push_back(EbnfText(text));
  }
  return fmt::format("root ::= {}\n", fmt::join(choices, " | "));
}

// Gathers what fields ask for; a second one is an error.
class Asked {
 public:
  void Add(std::string field, std::string ebnf) {
    if (!grammar_.parts.empty()) ThrowBadField(field, "'{}' and '{}' ask for different answers: give one", grammar_.field, field);
    grammar_ = {.parts = {std::move(ebnf)}, .field = std::move(field)};
  }
  AnswerGrammar Take() { return std::move(grammar_); }

 private:
  AnswerGrammar grammar_;
};

void ReadResponseFormat(const OrderedJson& format, Asked& asked) {
  const JsonFields fields(format, "response_format.");
  const std::string type = fields.Text("type").value_or("");
  if (type == "text") return;
  if (type == "json_object") {
    const OrderedJson* schema = fields.Find("schema");  // llama.cpp's
    return asked.Add("response_format", schema ? SchemaText(*schema, "response_format.schema") : AnyObjectText());
  }
  if (type != "json_schema") ThrowBadField("response_format", "'response_format.type' must be text, json_object or json_schema, got '{}'", type.substr(0, 40));
  const OrderedJson* named = fields.Find("json_schema");
  if (named == nullptr) ThrowBadField("response_format", "'response_format.json_schema' is missing");
  const OrderedJson* schema = JsonFields(*named, "response_format.json_schema.").Find("schema");
  if (schema == nullptr) ThrowBadField("response_format", "'response_format.json_schema.schema' is missing");
  asked.Add("response_format", SchemaText(*schema, "response_format"));
}

void ReadStructuredOutputs(const OrderedJson& outputs, Asked& asked) {
  const JsonFields fields(outputs, "structured_outputs.");
  if (const OrderedJson* value = fields.Find("json")) asked.Add("structured_outputs.json", SchemaText(*value, "structured_outputs.json"));
  if (fields.Boolean("json_object").value_or(false)) asked.Add("structured_outputs.json_object", AnyObjectText());
  if (const OrderedJson* value = fields.Find("regex")) asked.Add("structured_outputs.regex", RegexText(*value, "structured_outputs.regex"));
  if (const OrderedJson* value = fields.Find("choice")) asked.Add("structured_outputs.choice", ChoiceText(*value, "structured_outputs.choice"));
  if (const OrderedJson* value = fields.Find("grammar")) asked.Add("structured_outputs.grammar", TextOf(*value, "structured_outputs.grammar"));
  if (fields.Has("structural_tag")) ThrowBadField("structured_outputs.structural_tag", "'structured_outputs.structural_tag' is not offered here");
}

const std::string kCallsBegin = "<\uFF5Ctool\u2581calls\u2581begin\uFF5C>", kCallsEnd = "<\uFF5Ctool\u2581calls\u2581end\uFF5C>";
const std::string kCallBegin = "<\uFF5Ctool\u2581call\u2581begin\uFF5C>", kCallEnd = "<\uFF5Ctool\u2581call\u2581end\uFF5C>";
const std::string kSeparator = "<\uFF5Ctool\u2581sep\uFF5C>";

std::string Arguments(const OrderedJson& function, size_t index, EbnfWriter& writer) {
  const bool is_strict = function.contains("strict") && function["strict"] == true;
  if (!function.contains("parameters") || function["parameters"].is_null() || function["parameters"] == OrderedJson::object()) return writer.Json("object");
  const std::string field = fmt::format("tools[{}].function.parameters", index);
  const EbnfWriter before = writer;
  try {
    OrderedJson parameters = function["parameters"];
    if (parameters.is_object() && !parameters.contains("type") && !parameters.contains("$ref")) parameters["type"] = "object";
    return SchemaToEbnf(parameters, writer, "'" + field + "'");
  } catch (const UserError& error) {
    if (is_strict) throw ApiError(400, error.what(), field);
    writer = before;
    return writer.Json("object");
  }
}

// An answer's calls.
struct Calls {
  std::string trigger;        // the text that they begin with
  std::string after_trigger;  // a rule: what follows it, to the end of the first call
  std::string more;           // an expression: further calls and what closes them
};

Calls CallsOf(const ChatGrammar& chat, EbnfWriter& writer) {
  std::vector<std::string> calls;
  for (size_t i = 0; i < chat.tools.size(); ++i) {
    const OrderedJson& function = chat.tools[i]["function"];
    const auto name = function["name"].get<std::string>();
    if (!chat.choice.name.empty() && name != chat.choice.name) continue;
    const std::string arguments = Arguments(function, i, writer);
    switch (chat.format) {
      case ToolFormat::kHermes: {
        const std::string quoted = OrderedJson(name).dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
        calls.push_back(fmt::format("{} {} \"}}\\n</tool_call>\"", EbnfText("\n{\"name\": " + quoted + ", \"arguments\": "), arguments));
        break;
      }
      case ToolFormat::kDeepSeekV3:
        calls.push_back(fmt::format("{} {} {}", EbnfText(kCallBegin + "function" + kSeparator + name + "\n```json\n"), arguments, EbnfText("\n```" + kCallEnd)));
        break;
      case ToolFormat::kDeepSeekV31: calls.push_back(fmt::format("{} {} {}", EbnfText(kCallBegin + name + kSeparator), arguments, EbnfText(kCallEnd))); break;
    }
  }
  const std::string call = writer.Rule("call", fmt::format("{}", fmt::join(calls, " | ")));
  const bool only_one = chat.choice.only_one || !chat.choice.name.empty();
  if (chat.format == ToolFormat::kHermes) return {"<tool_call>", call, only_one ? "" : fmt::format("(\"\\n<tool_call>\" {})*", call)};
  const std::string between = chat.format == ToolFormat::kDeepSeekV3 ? "\"\\n\" " : "";
  return {kCallsBegin, call, fmt::format("{}{}", only_one ? "" : fmt::format("({}{})* ", between, call), EbnfText(kCallsEnd))};
}

bool HasStrict(const OrderedJson& tools) {
  return std::any_of(tools.begin(), tools.end(), [](const OrderedJson& tool) { return tool["function"].contains("strict") && tool["function"]["strict"] == true; });
}

}  // namespace

AnswerGrammar ReadAnswerGrammar(const JsonFields& fields) {
  Asked asked;
  if (const OrderedJson* format = fields.Find("response_format")) ReadResponseFormat(*format, asked);
  if (const OrderedJson* outputs = fields.Find("structured_outputs")) ReadStructuredOutputs(*outputs, asked);
  if (const OrderedJson* value = fields.Find("guided_json")) asked.Add("guided_json", SchemaText(*value, "guided_json"));
  if (const OrderedJson* value = fields.Find("guided_regex")) asked.Add("guided_regex", RegexText(*value, "guided_regex"));
  if (const OrderedJson* value = fields.Find("guided_choice")) asked.Add("guided_choice", ChoiceText(*value, "guided_choice"));
  if (const OrderedJson* value = fields.Find("guided_grammar")) asked.Add("guided_grammar", TextOf(*value, "guided_grammar"));
  if (const OrderedJson* value = fields.Find("json_schema")) asked.Add("json_schema", SchemaText(*value, "json_schema"));
  // llama.cpp's clients send an empty grammar for none.
  if (const OrderedJson* value = fields.Find("grammar"); value != nullptr && *value != "") asked.Add("grammar", TextOf(*value, "grammar"));
  if (const OrderedJson* format = fields.Find("output_format")) {
    const JsonFields inner(*format, "output_format.");
    const std::string type = inner.Text("type").value_or("");
    const OrderedJson* schema = inner.Find("schema");
    if (type != "json_schema" || schema == nullptr) ThrowBadField("output_format", "'output_format' must have the type json_schema and a schema, got {}", Shown(*format));
    asked.Add("output_format", SchemaText(*schema, "output_format.schema"));
  }
  return asked.Take();
}

ToolFormat ToolFormatOf(const ServedModel& model) {
  if (model.tokenizer->TokenToId(kCallsBegin) < 0) return ToolFormat::kHermes;
  TemplateInput input;
  const OrderedJson function = {{"name", "f"}, {"arguments", "{}"}};
  input.messages = {{{"role", "user"}, {"content", "x"}},
                    {{"role", "assistant"}, {"content", ""}, {"tool_calls", OrderedJson::array({{{"id", "1"}, {"type", "function"}, {"function", function}}})}},
                    {{"role", "tool"}, {"tool_call_id", "1"}, {"content", "y"}}};
  std::string shown;
  try {
    shown = model.chat_template->Render(input);
  } catch (const std::exception&) {  // a template that knows no tools
  }
  return shown.find("function" + kSeparator) != std::string::npos ? ToolFormat::kDeepSeekV3 : ToolFormat::kDeepSeekV31;
}

ToolChoice ReadToolChoice(const JsonFields& fields, const OrderedJson& tools) {
  ToolChoice choice;
  choice.only_one = !fields.Boolean("parallel_tool_calls").value_or(true);
  const OrderedJson* given = fields.Find("tool_choice");
  if (given == nullptr) return choice;
  if (given->is_string()) {
    const auto text = given->get<std::string>();
    if (text == "none") choice.kind = ToolChoice::Kind::kNone;
    else if (text == "required") choice.kind = ToolChoice::Kind::kRequired;
    else if (text != "auto") ThrowBadField("tool_choice", "'tool_choice' must be none, auto, required or a function, got {}", Shown(*given));
  } else {
    const JsonFields inner(*given, "tool_choice.");
    const OrderedJson* function = inner.Find("function");
    if (inner.Text("type").value_or("") != "function" || function == nullptr) ThrowBadField("tool_choice", "'tool_choice' must be none, auto, required or a function, got {}", Shown(*given));
    choice.kind = ToolChoice::Kind::kRequired;
    choice.name = JsonFields(*function, "tool_choice.function.").Text("name").value_or("");
    const bool is_there = std::any_of(tools.begin(), tools.end(), [&](const OrderedJson& tool) { return tool["function"]["name"] == choice.name; });
    if (choice.name.empty() || !is_there) ThrowBadField("tool_choice", "'tool_choice' names the function '{}', which is not among the tools", choice.name.substr(0, 60));
  }
  if (choice.kind == ToolChoice::Kind::kRequired && tools.empty()) ThrowBadField("tool_choice", "'tool_choice' asks for a call, and there are no 'tools'");
  return choice;
}

AnswerGrammar ChatAnswerGrammar(const ChatGrammar& chat) {
  const bool forces_calls = chat.choice.kind == ToolChoice::Kind::kRequired;
  const bool may_call = !chat.tools.is_null() && chat.choice.kind != ToolChoice::Kind::kNone;
  AnswerGrammar grammar = chat.content;
  if (may_call && static_cast<int64_t>(chat.tools.size()) > kMostTools && (forces_calls || HasStrict(chat.tools))) {
    ThrowBadField("tools", "'tools' holds {} functions, and {} are the most whose calls can be kept", chat.tools.size(), kMostTools);
  }
  if (forces_calls) {
    EbnfWriter writer;
    const Calls calls = ForField("tools", [&] { return CallsOf(chat, writer); });
    grammar = {.parts = {writer.Text(fmt::format("{} {} {}", EbnfText(calls.trigger), calls.after_trigger, calls.more))}, .field = "tool_choice"};
  } else if (may_call && grammar.parts.empty() && HasStrict(chat.tools)) {
    // Any text; once calls begin they keep their schemas.
    EbnfWriter writer;
    const Calls calls = ForField("tools", [&] { return CallsOf(chat, writer); });
    const std::string rest = writer.Rule("calls", calls.after_trigger + " " + calls.more);
    grammar = {.parts = {writer.Text(fmt::format("TagDispatch(({}, {}), stop_eos=true, stop_str=(), loop_after_dispatch=false)", EbnfText(calls.trigger), rest))}, .field = "tools"};
  }
  if (grammar.parts.empty() || !chat.may_think) return grammar;
  if (chat.starts_thinking) {
    grammar.parts.insert(grammar.parts.begin(), {"root ::= " + EbnfUntil("</think>") + "\n", "root ::= \"\\n\"{0,2}\n"});
  } else {
    grammar.parts.insert(grammar.parts.begin(), "root ::= \"\" | \"<think>\" thought \"\\n\"{0,2}\nthought ::= " + EbnfUntil("</think>") + "\n");
  }
  return grammar;
}

}  // namespace fathom
