// fathom tokenize: text to ids and back, chat messages to the model's prompt, one at a time or a line of JSON each.
#include <CLI/CLI.hpp>
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/arguments.h"
#include "cli/json_output.h"
#include "cli/verb_options.h"
#include "cli/verbs.h"
#include "engine/catalogue.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace fathom {
namespace {

struct TokenizeFlags {
  std::string tokenizer, text, file, decode, messages, tools, chat_template, template_args;
  bool no_special = false, add_bos = false, add_generation_prompt = false, render_only = false, jsonl = false;
  // Which of the flags that take a value were given: an empty text is one too.
  CLI::Option *text_given = nullptr, *file_given = nullptr, *decode_given = nullptr, *messages_given = nullptr;
  CLI::Option *tokenizer_given = nullptr, *chat_template_given = nullptr;
};

bool Given(const CLI::Option* option) { return option->count() > 0; }

// The tokenizer and the template of one model, each read when it is first needed.
class ModelText {
 public:
  ModelText(const TokenizeFlags& flags, const CommonOptions& common) : flags_(flags) {
    path_ = Given(flags.tokenizer_given) ? std::filesystem::path(flags.tokenizer) : ResolveModelPath(common.model);
    FATHOM_USER_CHECK(std::filesystem::exists(path_), "--tokenizer: {} does not exist", path_.string());
    if (!flags.template_args.empty()) args_ = ParseOrderedJson(flags.template_args, "--template-args");
    FATHOM_USER_CHECK(args_.is_object(), "--template-args must be a JSON object, got {}", args_.type_name());
  }

  const Tokenizer& tokenizer() {
    if (tokenizer_ == nullptr) tokenizer_ = Tokenizer::Load(path_);
    return *tokenizer_;
  }

  std::vector<int32_t> Encode(std::string_view text) {
    FATHOM_USER_CHECK(!flags_.add_bos || tokenizer().bos_id() >= 0, "--add-bos: {} has no BOS token", path_.string());
    return tokenizer().Encode(text, {.add_bos = flags_.add_bos, .match_special = !flags_.no_special});
  }

  std::string Render(OrderedJson messages, OrderedJson tools, bool add_generation_prompt, const OrderedJson& args) {
    TemplateInput input{.messages = std::move(messages), .tools = std::move(tools),
                        .add_generation_prompt = add_generation_prompt, .args = args_};
    if (!args.is_null()) {
      FATHOM_USER_CHECK(args.is_object(), "template_args must be a JSON object, got {}", args.type_name());
      input.args.update(args);
    }
    return chat_template().Render(input);
  }

 private:
  const ChatTemplate& chat_template() {
    if (template_ == nullptr && Given(flags_.chat_template_given))
      template_ = ChatTemplate::Parse(ReadFile(flags_.chat_template), flags_.chat_template, ChatTemplate::LoadSpecialTokens(path_));
    if (template_ == nullptr) template_ = ChatTemplate::Load(path_);
    FATHOM_USER_CHECK(template_ != nullptr, "{} has no chat template; --chat-template FILE gives one", path_.string());
    return *template_;
  }

  const TokenizeFlags& flags_;
  std::filesystem::path path_;
  OrderedJson args_ = OrderedJson::object();
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::shared_ptr<const ChatTemplate> template_;
};

// Exactly the text; a terminal gets a line's end.
void PrintText(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  if (::isatty(STDOUT_FILENO) != 0) std::fputc('\n', stdout);
}

// Ids as `--tokens` and `--decode` take them.
void PrintIds(const std::vector<int32_t>& ids) {
  std::string line;
  for (const int32_t id : ids) line += (line.empty() ? "" : ",") + std::to_string(id);
  std::puts(line.c_str());
}

// One line of --jsonl. Its mistakes are its own.
OrderedJson AnswerLine(const std::string& line, ModelText& model, const TokenizeFlags& flags) {
  const OrderedJson request = ParseOrderedJson(line, "line");
  FATHOM_USER_CHECK(request.is_object(), "line: must be a JSON object, got {}", request.type_name());
  const auto value = [&](const char* key) {
    const auto it = request.find(key);
    return it == request.end() ? OrderedJson() : *it;
  };
  const bool has_messages = request.contains("messages");
  FATHOM_USER_CHECK(has_messages != request.contains("text"), "line: needs one of 'text' and 'messages'");
  std::string text;
  if (has_messages) {
    const OrderedJson add = value("add_generation_prompt");
    FATHOM_USER_CHECK(add.is_null() || add.is_boolean(), "line: add_generation_prompt must be true or false");
    text = model.Render(value("messages"), value("tools"), add.is_null() ? flags.add_generation_prompt : add.get<bool>(),
                        value("template_args"));
    if (flags.render_only) return {{"rendered", text}};
  } else {
    FATHOM_USER_CHECK(!flags.render_only, "line: --render-only needs 'messages'");
    FATHOM_USER_CHECK(request["text"].is_string(), "line: text must be a string, got {}", request["text"].type_name());
    text = request["text"].get<std::string>();
  }
  return {{"tokens", model.Encode(text)}};
}

int RunLines(ModelText& model, const TokenizeFlags& flags) {
  if (!flags.render_only) model.tokenizer();  // one that cannot be read is an error of the run, not of each line
  for (std::string line; std::getline(std::cin, line);) {
    OrderedJson answer;
    try {
      answer = AnswerLine(line, model, flags);
    } catch (const UserError& error) {
      answer = {{"error", error.what()}};
    }
    PrintJson(answer);
    std::fflush(stdout);
  }
  return 0;
}

int RunDecode(ModelText& model, const TokenizeFlags& flags, bool json) {
  const std::vector<int32_t> ids = flags.decode.empty() ? std::vector<int32_t>() : ParseTokenIds("--decode", flags.decode);
  const std::string text = model.tokenizer().Decode(ids, /*skip_special=*/false);
  if (json)
    PrintJson(OrderedJson{{"tokens", ids}, {"text", text}});
  else
    PrintText(text);
  return 0;
}

std::string ReadStdin() { return std::string(std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()); }

int RunEncode(ModelText& model, const TokenizeFlags& flags, bool json) {
  std::optional<std::string> rendered;
  if (Given(flags.messages_given)) {
    OrderedJson tools = flags.tools.empty() ? OrderedJson() : ReadOrderedJsonFile(flags.tools);
    rendered = model.Render(ReadOrderedJsonFile(flags.messages), std::move(tools), flags.add_generation_prompt, OrderedJson());
  }
  FATHOM_USER_CHECK(rendered || !flags.render_only, "--render-only needs --messages");
  if (flags.render_only) {
    if (json)
      PrintJson(OrderedJson{{"rendered", *rendered}});
    else
      PrintText(*rendered);
    return 0;
  }
  const std::string text = rendered                   ? *rendered
                           : Given(flags.text_given) ? flags.text
                           : Given(flags.file_given) ? ReadFile(flags.file)
                                                     : ReadStdin();
  const std::vector<int32_t> ids = model.Encode(text);
  if (!json)
    PrintIds(ids);
  else if (rendered)
    PrintJson(OrderedJson{{"tokens", ids}, {"text", *rendered}});
  else
    PrintJson(OrderedJson{{"tokens", ids}});
  return 0;
}

int RunTokenize(const TokenizeFlags& flags, const CommonOptions& common) {
  const int num_inputs = Given(flags.text_given) + Given(flags.file_given) + Given(flags.decode_given) +
                         Given(flags.messages_given) + flags.jsonl;
  FATHOM_USER_CHECK(num_inputs <= 1, "--text, --file, --decode, --messages and --jsonl exclude each other, got {} of them", num_inputs);
  FATHOM_USER_CHECK(common.model.empty() || !Given(flags.tokenizer_given), "--model and --tokenizer exclude each other");
  ModelText model(flags, common);
  if (flags.jsonl) return RunLines(model, flags);
  if (Given(flags.decode_given)) return RunDecode(model, flags, common.json);
  return RunEncode(model, flags, common.json);
}

}  // namespace

VerbFunction AddTokenize(CLI::App& app, CommonOptions& common) {
  auto flags = std::make_shared<TokenizeFlags>();
  CLI::App* verb = app.add_subcommand("tokenize", "text to token ids and back, and messages through the chat template");
  flags->tokenizer_given = AddText(*verb, "--tokenizer", flags->tokenizer,
                                   "a folder, a tokenizer.json or a GGUF, without weights (instead of --model)");
  flags->text_given = AddText(*verb, "--text", flags->text, "the text (else --file, else stdin)");
  flags->file_given = AddText(*verb, "--file", flags->file, "a file with the text");
  flags->decode_given = AddText(*verb, "--decode", flags->decode, "ids 1,2,3 back to text");
  flags->messages_given = AddText(*verb, "--messages", flags->messages, "a JSON file with chat messages");
  AddText(*verb, "--tools", flags->tools, "a JSON file with the tools that the template sees");
  flags->chat_template_given = AddText(*verb, "--chat-template", flags->chat_template, "a template's file instead of the model's");
  AddText(*verb, "--template-args", flags->template_args, "a JSON object of other variables of the template");
  AddSwitch(*verb, "--add-generation-prompt", flags->add_generation_prompt, "end with the opening of the assistant's turn");
  AddSwitch(*verb, "--render-only", flags->render_only, "print the rendered messages, not their ids");
  AddSwitch(*verb, "--no-special", flags->no_special, "special tokens in the text are text");
  AddSwitch(*verb, "--add-bos", flags->add_bos, "put the BOS token in front");
  AddSwitch(*verb, "--jsonl", flags->jsonl, "stdin: one {\"text\"} or {\"messages\", ...} a line; stdout: one answer a line");
  AddCommonOptions(*verb, common, kModelFlag | kJsonFlag);
  verb->footer(
      "Examples:\n  fathom tokenize --text 'Hello world'\n  fathom tokenize --decode 19556,905\n"
      "  fathom tokenize --messages chat.json --add-generation-prompt --render-only");
  return [flags, &common] { return RunTokenize(*flags, common); };
}

}  // namespace fathom
