#include "serve/generation_call.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>
#include <limits>
#include <optional>
#include <random>

#include "base/clock.h"
#include "base/error.h"
#include "engine/generation_config.h"
#include "serve/api_error.h"
#include "serve/request_ids.h"

namespace fathom {
namespace {

constexpr size_t kMostStops = 16;
constexpr int64_t kMostSamples = 128, kMostPrompts = 1024, kMostAnswers = 1024, kMostLogprobs = 100;

uint64_t RandomSeed() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

void ReadLogitBias(const JsonFields& fields, int64_t vocab_size, SamplingParams& sampling) {
  const OrderedJson* bias = fields.Find("logit_bias");
  if (bias == nullptr) return;
  if (!bias->is_object() || bias->size() > 4096) ThrowBadField("logit_bias", "'logit_bias' must be an object of token ids to numbers, got {}", Shown(*bias));
  for (const auto& [key, value] : bias->items()) {
    int64_t token = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token);
    const bool is_id = error == std::errc() && end == key.data() + key.size() && token >= 0 && token < vocab_size;
    const double number = value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN();
    if (!is_id || !(number >= -100 && number <= 100)) {
      ThrowBadField("logit_bias", "'logit_bias' must give token ids below {} numbers from -100 to 100, got '{}': {}", vocab_size, key.substr(0, 40), Shown(value));
    }
    sampling.logit_bias.emplace_back(static_cast<int32_t>(token), number);
  }
}

GenerationCall NewCall(const char* prefix, const JsonFields& fields, const ServedModel& model) {
  GenerationCall call;
  call.id = prefix + NewRequestId().substr(0, 24);
  call.model = ReadModelName(fields, model);
  call.created = static_cast<int64_t>(UnixSeconds());
  ReadCommonFields(fields, model, call);
  return call;
}

std::vector<int32_t> Encode(const ServedModel& model, const std::string& text, bool add_special) {
  return model.tokenizer->Encode(text, {.add_bos = add_special && model.tokenizer->adds_bos()});
}

// A message's content as one text: OpenAI's parts of type text are joined.
std::string ContentText(const OrderedJson& content, const std::string& name) {
  if (content.is_null()) return "";
  if (content.is_string()) return content.get<std::string>();
  std::string text;
  if (!content.is_array()) ThrowBadField(name, "'{}' must be a string or an array of parts, got {}", name, Shown(content));
  for (const OrderedJson& part : content) {
    const JsonFields fields(part, name + "[].");
    const std::string type = fields.Text("type").value_or("");
    if (type != "text" && type != "input_text") ThrowBadField(name, "'{}' has a part of type '{}', and this model reads text alone", name, type.substr(0, 40));
    text += fields.Text("text").value_or("");
  }
  return text;
}

OrderedJson ReadMessages(const JsonFields& fields) {
  const OrderedJson* messages = fields.Find("messages");
  if (messages == nullptr || !messages->is_array() || messages->empty()) {
    ThrowBadField("messages", "'messages' must be an array of at least one message, got {}", messages == nullptr ? "none" : Shown(*messages));
  }
  static constexpr std::array<std::string_view, 6> kRoles = {"system", "developer", "user", "assistant", "tool", "function"};
  OrderedJson read = OrderedJson::array();
  for (size_t i = 0; i < messages->size(); ++i) {
    OrderedJson message = (*messages)[i];
    const std::string where = fmt::format("messages[{}].", i);
    const JsonFields field(message, where);
    const std::string role = field.Text("role").value_or("");
    if (std::find(kRoles.begin(), kRoles.end(), role) == kRoles.end()) {
      ThrowBadField(where + "role", "'{}role' must be system, developer, user, assistant or tool, got '{}'", where, role.substr(0, 40));
    }
    if (role == "developer") message["role"] = "system";
    const OrderedJson* calls = field.Find("tool_calls");
    if (!message.contains("content") && calls == nullptr) ThrowBadField(where + "content", "'{}content' is missing", where);
    message["content"] = ContentText(message.contains("content") ? message["content"] : OrderedJson(), where + "content");
    if (calls != nullptr && !calls->is_array()) ThrowBadField(where + "tool_calls", "'{}tool_calls' must be an array, got {}", where, Shown(*calls));
    if (calls != nullptr) {
      for (OrderedJson& call : message["tool_calls"]) {
        if (!call.is_object() || !call.contains("function") || !call["function"].is_object()) {
          ThrowBadField(where + "tool_calls", "'{}tool_calls' must hold objects with a function, got {}", where, Shown(call));
        }
        // Templates print the arguments as an object; OpenAI's API carries them as text.
        OrderedJson& arguments = call["function"]["arguments"];
        if (arguments.is_string()) {
          OrderedJson parsed = OrderedJson::parse(arguments.get<std::string>(), nullptr, false);
          if (parsed.is_object()) arguments = std::move(parsed);
        }
      }
    } else {
      message.erase("tool_calls");
    }
    read.push_back(std::move(message));
  }
  return read;
}

OrderedJson ReadTools(const JsonFields& fields) {
  const OrderedJson* tools = fields.Find("tools");
  if (tools == nullptr) return {};
  if (!tools->is_array()) ThrowBadField("tools", "'tools' must be an array, got {}", Shown(*tools));
  for (const OrderedJson& tool : *tools) {
    const bool is_tool = tool.is_object() && tool.contains("function") && tool["function"].is_object() && tool["function"].contains("name") &&
                         tool["function"]["name"].is_string();
    if (!is_tool) ThrowBadField("tools", "'tools' must hold objects with a function that has a name, got {}", Shown(tool));
  }
  return tools->empty() ? OrderedJson() : *tools;
}

bool EndsWith(std::string_view text, std::string_view end) { return text.size() >= end.size() && text.substr(text.size() - end.size()) == end; }

}  // namespace

void ReadPrompts(const JsonFields& fields, const char* name, const ServedModel& model, GenerationCall& call) {
  const OrderedJson* prompt = fields.Find(name);
  if (prompt == nullptr) ThrowBadField(name, "'{}' is missing", name);
  const bool add_special = fields.Boolean("add_special_tokens").value_or(true);
  const auto add_text = [&](const OrderedJson& text) {
    call.prompt_texts.push_back(text.get<std::string>());
    call.prompts.push_back(Encode(model, call.prompt_texts.back(), add_special));
  };
  const auto add_ids = [&](const OrderedJson& ids) {
    call.prompts.push_back(ReadTokenIds(ids, name));
    for (const int32_t id : call.prompts.back()) {
      if (id >= model.engine->vocab_size()) ThrowBadField(name, "'{}' holds token id {}, and the vocabulary has {}", name, id, model.engine->vocab_size());
    }
    call.prompt_texts.push_back(call.echo ? model.tokenizer->Decode(call.prompts.back(), false) : std::string());
  };
  if (prompt->is_string()) return add_text(*prompt);
  if (!prompt->is_array() || prompt->empty()) ThrowBadField(name, "'{}' must be a string, or an array of strings or token ids, got {}", name, Shown(*prompt));
  if (prompt->front().is_number()) return add_ids(*prompt);
  if (static_cast<int64_t>(prompt->size()) > kMostPrompts) ThrowBadField(name, "'{}' holds {} prompts, and {} are the most", name, prompt->size(), kMostPrompts);
  for (const OrderedJson& each : *prompt) {
    if (each.is_string()) add_text(each);
    else if (each.is_array()) add_ids(each);
    else ThrowBadField(name, "'{}' must hold strings or arrays of token ids, got {}", name, Shown(each));
  }
}

std::string ReadModelName(const JsonFields& fields, const ServedModel& model) {
  const std::string name = fields.Text("model").value_or("");
  if (name.empty() || std::find(model.names.begin(), model.names.end(), name) != model.names.end()) return name.empty() ? model.name() : name;
  throw ApiError(404, fmt::format("the model '{}' is not served here; '{}' is", name.substr(0, 100), model.name()), "model", "model_not_found");
}

void ReadCommonFields(const JsonFields& fields, const ServedModel& model, GenerationCall& call) {
  constexpr double kLarge = 1e6;
  SamplingFlags flags;
  flags.temperature = fields.Number("temperature", 0, 2);
  flags.top_p = fields.Number("top_p", 0, 1);
  if (const auto top_k = fields.Integer("top_k", -1, INT32_MAX)) flags.top_k = std::max<int64_t>(*top_k, 0);
  flags.min_p = fields.Number("min_p", 0, 1);
  flags.repetition_penalty = fields.Number("repetition_penalty", 1e-3, kLarge);
  flags.presence_penalty = fields.Number("presence_penalty", -2, 2);
  flags.frequency_penalty = fields.Number("frequency_penalty", -2, 2);
  const Json& config = model.generation_config;
  const bool advises = config.is_object() && (config.contains("do_sample") || config.contains("temperature"));
  if (!flags.temperature && !advises) flags.temperature = 1.0;  // OpenAI's default
  GenerationRequest& request = call.request;
  request.sampling = ResolveSampling(flags, config);
  const auto seed = fields.Integer("seed", std::numeric_limits<int64_t>::min(), INT64_MAX);
  request.sampling.seed = seed ? static_cast<uint64_t>(*seed) : RandomSeed();
  ReadLogitBias(fields, model.engine->vocab_size(), request.sampling);
  request.stop = fields.Texts("stop", kMostStops);
  request.stop_token_ids = model.eos_tokens;
  for (const int32_t id : fields.TokenIds("stop_token_ids")) request.stop_token_ids.push_back(id);
  request.ignore_eos = fields.Boolean("ignore_eos").value_or(false);
  request.num_samples = fields.Integer("n", 1, kMostSamples).value_or(1);
  if (const auto best_of = fields.Integer("best_of", 1, kMostSamples); best_of && *best_of != request.num_samples) {
    ThrowBadField("best_of", "'best_of' must equal 'n', got {}", *best_of);
  }
  request.show_special_tokens = !fields.Boolean("skip_special_tokens").value_or(true);
  request.user = fields.Text("user").value_or("");
  request.priority = fields.Integer("priority", -100, 100).value_or(0);
  call.stream = fields.Boolean("stream").value_or(false);
  if (const OrderedJson* options = fields.Find("stream_options")) {
    call.include_usage = JsonFields(*options, "stream_options.").Boolean("include_usage").value_or(false);
  }
}

void FitIntoContext(const ServedModel& model, int64_t most_new, GenerationCall& call) {
  const int64_t num_answers = std::ssize(call.prompts) * call.request.num_samples;
  if (num_answers > kMostAnswers) ThrowBadField("n", "{} prompts with 'n' {} ask for {} answers, and {} are the most", call.prompts.size(), call.request.num_samples, num_answers, kMostAnswers);
  for (const std::vector<int32_t>& prompt : call.prompts) {
    if (prompt.empty()) ThrowBadField("prompt", "the prompt is empty: it needs at least one token");
    const int64_t length = std::ssize(prompt), room = model.max_model_len - length;
    if (room < 0 || (room == 0 && most_new != 0)) {
      throw ApiError(400, fmt::format("the prompt has {} tokens, and the model's context of {} leaves no room for an answer", length, model.max_model_len),
                     "messages", "context_length_exceeded");
    }
  }
  call.request.max_new_tokens = most_new < 0 ? model.max_model_len : most_new;  // the engine ends an answer at the context's end
}

std::string RenderMessages(const JsonFields& fields, const ServedModel& model, bool add_generation_prompt) {
  if (model.chat_template == nullptr) ThrowBadField("messages", "the model '{}' has no chat template; /v1/completions works without one", model.name());
  TemplateInput input;
  input.messages = ReadMessages(fields);
  input.tools = ReadTools(fields);
  const OrderedJson* choice = fields.Find("tool_choice");
  if (choice != nullptr && *choice == "none") input.tools = {};
  input.add_generation_prompt = add_generation_prompt;
  if (const OrderedJson* args = fields.Find("chat_template_kwargs")) {
    if (!args->is_object()) ThrowBadField("chat_template_kwargs", "'chat_template_kwargs' must be an object, got {}", Shown(*args));
    input.args = *args;
  }
  return model.chat_template->Render(input);
}

namespace {

// The grammar of the whole answer: thought, calls, content.
void ReadChatGrammar(const JsonFields& fields, const ServedModel& model, const ToolChoice& choice, bool may_think, GenerationCall& call) {
  ChatGrammar chat{.content = ReadAnswerGrammar(fields), .choice = choice, .starts_thinking = call.starts_in_reasoning};
  if (call.has_tools) {
    chat.tools = call.tools;
    chat.format = ToolFormatOf(model);
  }
  chat.may_think = may_think && (call.starts_in_reasoning || (model.tokenizer->TokenToId("<think>") >= 0 && model.tokenizer->TokenToId("</think>") >= 0));
  call.grammar = ChatAnswerGrammar(chat);
  call.keeps_calls = call.grammar.field == "tool_choice" || call.grammar.field == "tools";
}

}  // namespace

GenerationCall ReadChatCall(const OrderedJson& body, const ServedModel& model) {
  const JsonFields fields(body);
  GenerationCall call = NewCall("chatcmpl-", fields, model);
  call.tools = ReadTools(fields);
  const ToolChoice choice = ReadToolChoice(fields, call.tools);
  call.has_tools = !call.tools.is_null() && choice.kind != ToolChoice::Kind::kNone;
  const std::string prompt = RenderMessages(fields, model, fields.Boolean("add_generation_prompt").value_or(true));
  size_t end = prompt.find_last_not_of(" \n\t");
  const std::string_view trimmed = std::string_view(prompt).substr(0, end == std::string::npos ? 0 : end + 1);
  call.starts_in_reasoning = EndsWith(trimmed, "<think>");
  call.parses_reasoning = fields.Boolean("separate_reasoning").value_or(true);
  ReadChatGrammar(fields, model, choice, !EndsWith(trimmed, "</think>"), call);
  call.prompts.push_back(model.tokenizer->Encode(prompt, {.add_bos = false}));
  const bool wants_logprobs = fields.Boolean("logprobs").value_or(false);
  const auto top = fields.Integer("top_logprobs", 0, kMostLogprobs);
  if (top && *top > 0 && !wants_logprobs) ThrowBadField("top_logprobs", "'top_logprobs' needs 'logprobs' to be true");
  call.request.num_logprobs = wants_logprobs ? top.value_or(0) : -1;
  const auto most = fields.Integer("max_tokens", 1, INT64_MAX);
  FitIntoContext(model, fields.Integer("max_completion_tokens", 1, INT64_MAX).value_or(most.value_or(-1)), call);
  return call;
}

GenerationCall ReadCompletionCall(const OrderedJson& body, const ServedModel& model) {
  const JsonFields fields(body);
  GenerationCall call = NewCall("cmpl-", fields, model);
  call.grammar = ReadAnswerGrammar(fields);
  call.echo = fields.Boolean("echo").value_or(false);
  if (const auto suffix = fields.Text("suffix"); suffix && !suffix->empty()) {
    const auto prefix = fields.Text("prompt");
    call.prompts.push_back(InfillPrompt(model, prefix.value_or(""), *suffix));
    call.prompt_texts.push_back(prefix.value_or(""));
  } else {
    ReadPrompts(fields, "prompt", model, call);
  }
  call.request.num_logprobs = fields.Integer("logprobs", 0, kMostLogprobs).value_or(-1);
  if (call.echo) call.request.num_prompt_logprobs = call.request.num_logprobs;
  FitIntoContext(model, fields.Integer("max_tokens", 0, INT64_MAX).value_or(16), call);
  return call;
}

GenerationCall ReadLlamaCall(const OrderedJson& body, const ServedModel& model) {
  const JsonFields fields(body);
  OrderedJson common = body;  // llama.cpp's names and defaults for what is the same
  if (fields.Has("repeat_penalty")) common["repetition_penalty"] = *fields.Find("repeat_penalty");
  if (body.contains("seed") && body["seed"] == -1) common.erase("seed");
  common.erase("n");
  GenerationCall call = NewCall("cmpl-", JsonFields(common), model);
  ReadPrompts(fields, "prompt", model, call);
  if (call.prompts.size() != 1) ThrowBadField("prompt", "'prompt' must be one prompt, got {}", call.prompts.size());
  call.grammar = ReadAnswerGrammar(fields);
  FitIntoContext(model, fields.Integer("n_predict", -2, INT64_MAX).value_or(-1), call);
  return call;
}

GenerationCall ReadInfillCall(const OrderedJson& body, const ServedModel& model) {
  const JsonFields fields(body);
  OrderedJson common = body;
  common.erase("n");
  GenerationCall call = NewCall("cmpl-", JsonFields(common), model);
  std::string prefix;
  if (const OrderedJson* extra = fields.Find("input_extra")) {
    if (!extra->is_array()) ThrowBadField("input_extra", "'input_extra' must be an array, got {}", Shown(*extra));
    for (const OrderedJson& file : *extra) prefix += JsonFields(file, "input_extra[].").Text("text").value_or("") + "\n";
  }
  prefix += fields.Text("input_prefix").value_or("") + fields.Text("prompt").value_or("");
  call.prompts.push_back(InfillPrompt(model, prefix, fields.Text("input_suffix").value_or("")));
  call.prompt_texts.emplace_back();
  call.grammar = ReadAnswerGrammar(fields);
  FitIntoContext(model, fields.Integer("n_predict", -2, INT64_MAX).value_or(-1), call);
  return call;
}

GenerationCall ReadGenerateCall(const OrderedJson& body, const ServedModel& model) {
  const JsonFields fields(body);
  GenerationCall call = NewCall("gen-", fields, model);
  ReadPrompts(fields, fields.Has("inputs") ? "inputs" : "prompt", model, call);
  if (call.prompts.size() != 1) ThrowBadField("prompt", "'prompt' must be one prompt, got {}", call.prompts.size());
  call.grammar = ReadAnswerGrammar(fields);
  const auto most = fields.Integer("max_tokens", 0, INT64_MAX);
  FitIntoContext(model, fields.Integer("max_new_tokens", 0, INT64_MAX).value_or(most.value_or(256)), call);
  return call;
}

std::vector<int32_t> InfillPrompt(const ServedModel& model, const std::string& prefix, const std::string& suffix) {
  // Before the prefix, before the suffix, before the answer (DeepSeek's last one stands behind the suffix, which is the same order).
  static constexpr std::array<std::array<const char*, 3>, 4> kMarkers = {{
      {"<\uFF5Cfim\u2581begin\uFF5C>", "<\uFF5Cfim\u2581hole\uFF5C>", "<\uFF5Cfim\u2581end\uFF5C>"},
      {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"},
      {"<fim_prefix>", "<fim_suffix>", "<fim_middle>"},
      {"<fim-prefix>", "<fim-suffix>", "<fim-middle>"},
  }};
  const Tokenizer& tokenizer = *model.tokenizer;
  for (const auto& markers : kMarkers) {
    std::array<int32_t, 3> ids{};
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = tokenizer.TokenToId(markers[i]);
    if (*std::min_element(ids.begin(), ids.end()) < 0) continue;
    std::vector<int32_t> tokens;
    if (tokenizer.adds_bos() && tokenizer.bos_id() >= 0) tokens.push_back(tokenizer.bos_id());
    const auto add = [&](int32_t marker, const std::string& text) {
      tokens.push_back(marker);
      const auto encoded = tokenizer.Encode(text, {.match_special = false});
      tokens.insert(tokens.end(), encoded.begin(), encoded.end());
    };
    add(ids[0], prefix);
    add(ids[1], suffix);
    tokens.push_back(ids[2]);
    return tokens;
  }
  ThrowBadField("suffix", "the model '{}' has no tokens that ask for the middle of a text", model.name());
}

}  // namespace fathom
