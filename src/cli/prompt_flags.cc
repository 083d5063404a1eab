#include "cli/prompt_flags.h"

#include <limits>
#include <random>

#include "base/error.h"
#include "base/file.h"
#include "cli/arguments.h"
#include "engine/chat_history.h"
#include "engine/ebnf.h"
#include "engine/regex_grammar.h"
#include "engine/schema_grammar.h"

namespace fathom {

void MessageFlags::Add(CLI::App& verb) {
  AddText(verb, "--messages", messages, "a JSON file of messages, through the chat template")->type_name("F.json");
  AddText(verb, "--tools", tools, "a JSON file of tools for the chat template")->type_name("F.json");
  AddText(verb, "--template-args", template_args, "other variables of the chat template")->type_name("JSON");
}

TemplateInput MessageFlags::Read() const {
  TemplateInput input;
  input.add_generation_prompt = true;
  OrderedJson json = ReadOrderedJsonFile(messages);
  if (json.is_object() && json.contains("tools")) input.tools = json["tools"];
  input.messages = json.is_object() && json.contains("messages") ? json["messages"] : json;
  CheckMessages(input.messages, "--messages " + messages);
  if (!tools.empty()) {
    input.tools = ReadOrderedJsonFile(tools);
    FATHOM_USER_CHECK(input.tools.is_array(), "--tools {}: must be an array, got {}", tools, input.tools.type_name());
  }
  if (!template_args.empty()) {
    input.args = ParseOrderedJson(template_args, "--template-args");
    FATHOM_USER_CHECK(input.args.is_object(), "--template-args must be a JSON object, got {}", input.args.type_name());
  }
  return input;
}

void AddSamplingFlags(CLI::App& verb, SamplingFlags& flags) {
  const auto add = [&verb](const std::string& name, std::optional<double>& value, const std::string& help, NumberRule rule) {
    verb.add_option_function<std::string>(name, [=, &value](const std::string& text) { value = ParseNumber(name, text, rule); }, help)
        ->type_name("X");
  };
  const auto set_top_k = [&flags](const std::string& text) { flags.top_k = ParseInteger("--top-k", text, 0, std::numeric_limits<int64_t>::max()); };
  add("--temperature", flags.temperature, "0 is greedy", {.least = 0});
  add("--top-p", flags.top_p, "keep the best tokens up to this probability", {.least = 0, .most = 1});
  verb.add_option_function<std::string>("--top-k", set_top_k, "keep the best K tokens, 0 keeps all")->type_name("K");
  add("--min-p", flags.min_p, "keep tokens of at least this share of the best one's probability", {.least = 0, .most = 1});
  add("--repetition-penalty", flags.repetition_penalty, "above 1: less of what prompt and answer have", {.least = 0, .above = true});
  add("--presence-penalty", flags.presence_penalty, "less of what the answer has", {});
  add("--frequency-penalty", flags.frequency_penalty, "less of what the answer has often", {});
}

void GrammarFlags::Add(CLI::App& verb) {
  AddText(verb, "--json-schema", schema, "the answer is JSON of this schema; {} for any")->type_name("JSON");
  AddText(verb, "--json-schema-file", schema_file, "the same from a file")->type_name("F.json");
  AddText(verb, "--grammar", grammar, "the answer keeps this grammar (EBNF like llama.cpp's GBNF, from its rule root)")->type_name("EBNF");
  AddText(verb, "--grammar-file", grammar_file, "the same from a file")->type_name("F");
  AddText(verb, "--regex", regex, "the whole answer matches this regular expression")->type_name("R");
}

std::string GrammarFlags::Read() const {
  std::vector<std::string> given;
  for (const auto& [flag, value] : {std::pair{"--json-schema", &schema}, {"--json-schema-file", &schema_file}, {"--grammar", &grammar}, {"--grammar-file", &grammar_file}, {"--regex", &regex}}) {
    if (!value->empty()) given.emplace_back(flag);
  }
  if (given.empty()) return "";
  FATHOM_USER_CHECK(given.size() == 1, "{} and {} ask for different answers: give one", given[0], given[1]);
  if (!grammar.empty()) return grammar;
  if (!grammar_file.empty()) return ReadFile(grammar_file);
  if (!regex.empty()) return "root ::= " + RegexToEbnf(regex, RegexPlace::kText, "--regex") + "\n";
  EbnfWriter writer;
  const OrderedJson json = schema.empty() ? ReadOrderedJsonFile(schema_file) : ParseOrderedJson(schema, "--json-schema");
  const std::string root = SchemaToEbnf(json, writer, given[0]);
  return writer.Text(root);
}

uint64_t ChooseSeed(bool given, uint64_t seed) {
  if (given) return seed;
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

}  // namespace fathom
