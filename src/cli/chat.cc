// fathom chat: a conversation in the terminal, or one turn a line of a pipe.
#include <CLI/CLI.hpp>

#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>

#include "base/error.h"
#include "cli/arguments.h"
#include "cli/chat_screen.h"
#include "cli/compute_device.h"
#include "cli/interrupt.h"
#include "cli/line_reader.h"
#include "cli/program.h"
#include "cli/prompt_flags.h"
#include "cli/verb_options.h"
#include "cli/verbs.h"
#include "engine/catalogue.h"
#include "engine/chat_session.h"
#include "engine/engine.h"
#include "engine/loading.h"
#include "engine/paged_runner.h"

namespace fathom {
namespace {

struct ChatFlags {
  std::string system;
  SamplingFlags sampling;
  int64_t max_history_turns = 0, max_new_tokens = 2048;
};

constexpr char kHelp[] =
    "/reset          forget the conversation, keep the system prompt\n"
    "/system [TEXT]  show or set the system prompt (and forget the conversation)\n"
    "/save FILE      write the conversation to a JSON file\n"
    "/load FILE      go on with a saved conversation\n"
    "/regen          answer the last question again\n"
    "/stats          speed and use of the context\n"
    "/think [on|off] thinking, for models whose template has the switch\n"
    "/quit           leave (Ctrl-D too)\n"
    "A line that ends in \\ goes on with the next; \"\"\" begins and ends a text of several lines.\n"
    "Ctrl-C stops an answer.";

// Without advice of its makers a small model chats best near its greedy path, and greedy alone repeats itself.
SamplingParams ChatSampling(SamplingFlags flags, const Json& generation_config) {
  const bool advised = generation_config.is_object() && generation_config.value("do_sample", Json(false)) == Json(true);
  if (!advised && !flags.temperature) {
    flags.temperature = 0.3;
    if (!flags.top_p) flags.top_p = 0.9;
  }
  return ResolveSampling(flags, generation_config);
}

class Conversation {
 public:
  Conversation(ChatSession& session, ChatScreen& screen, bool at_terminal) : session_(session), screen_(screen), at_terminal_(at_terminal) {}

  // Handles one message or command. False: leave.
  bool Handle(const std::string& message) {
    if (message.find_first_not_of(" \t\n") == std::string::npos) return true;
    if (message[0] != '/') {
      Answer([&](const auto& on_text) { session_.Ask(message, on_text); });
      return true;
    }
    const size_t space = message.find(' ');
    const std::string command = message.substr(0, space);
    std::string argument = space == std::string::npos ? "" : message.substr(space + 1);
    argument.erase(0, argument.find_first_not_of(' '));
    argument.erase(argument.find_last_not_of(' ') + 1);
    return Command(command, argument);
  }

 private:
  bool Command(const std::string& command, const std::string& argument) {
    if (command == "/quit" || command == "/exit") return false;
    if (command == "/help") {
      screen_.Note(kHelp);
    } else if (command == "/reset") {
      session_.Reset();
      screen_.Note("the conversation begins anew");
    } else if (command == "/system") {
      System(argument);
    } else if (command == "/save") {
      FATHOM_USER_CHECK(!argument.empty(), "/save needs a file, got none");
      SaveConversation(argument, session_.messages());
      screen_.Note("saved to " + argument);
    } else if (command == "/load") {
      FATHOM_USER_CHECK(!argument.empty(), "/load needs a file, got none");
      session_.SetMessages(LoadConversation(argument));
      screen_.Note(fmt::format("{} turns loaded from {}", CountTurns(session_.messages()), argument));
    } else if (command == "/regen") {
      Answer([&](const auto& on_text) { session_.Regenerate(on_text); });
    } else if (command == "/stats") {
      Stats();
    } else if (command == "/think") {
      Think(argument);
    } else {
      ThrowUserError("unknown command {}; /help lists them", command);
    }
    return true;
  }

  void System(const std::string& text) {
    if (text.empty()) {
      const auto& messages = session_.messages();
      const bool has_one = !messages.empty() && messages[0].value("role", "") == "system";
      screen_.Note(has_one ? messages[0].value("content", "") : "there is no system prompt");
      return;
    }
    session_.Reset();
    session_.SetSystem(text);
    screen_.Note("the conversation begins anew with this system prompt");
  }

  void Think(const std::string& argument) {
    FATHOM_USER_CHECK(argument.empty() || argument == "on" || argument == "off", "/think takes on or off, got '{}'", argument);
    thinking_ = argument.empty() ? !thinking_ : argument == "on";
    OrderedJson& args = session_.options().template_args;
    args["thinking"] = thinking_;         // DeepSeek-V3.1's name for it
    args["enable_thinking"] = thinking_;  // and that of others
    screen_.Note(thinking_ ? "thinking is on" : "thinking is off");
  }

  void Stats() {
    const ChatStats& stats = session_.stats();
    const Timings& t = stats.timings;
    const auto rate = [](int64_t count, double seconds) { return seconds > 0 ? static_cast<double>(count) / seconds : 0.0; };
    screen_.Note(fmt::format("last answer: prompt {} tokens ({} of them new, {:.0f} tok/s), {} tokens answered ({:.1f} tok/s), first token after {:.2f} s",
                             t.prompt_tokens, t.prefilled_tokens, rate(t.prefilled_tokens, t.prefill_s), t.completion_tokens,
                             rate(t.decoded_tokens, t.decode_s), t.prefill_s));
    screen_.Note(fmt::format("context: {} of {} tokens; {} turns, {} of them said to the model", stats.context_used, stats.context_length,
                             stats.turns, stats.turns_in_prompt));
  }

  template <typename Run>
  void Answer(const Run& run) {
    InterruptGuard::Clear();
    screen_.BeginAnswer(thinking_);
    try {
      run([&](const std::string& piece) {
        if (!piece.empty()) screen_.Piece(piece);
        return !InterruptGuard::Interrupted();
      });
    } catch (...) {
      if (at_terminal_) screen_.EndAnswer();
      throw;
    }
    screen_.EndAnswer();
    if (InterruptGuard::Interrupted() && at_terminal_) {
      InterruptGuard::Clear();
      screen_.Note("(stopped)");
    }
  }

  ChatSession& session_;
  ChatScreen& screen_;
  bool at_terminal_;
  bool thinking_ = false;
};

// At a terminal a mistake is told and the conversation goes on; a script's mistake ends it.
int Converse(ChatSession& session, bool at_terminal) {
  ChatScreen screen(TerminalShowsColours());
  const auto reader = at_terminal ? MakeTerminalLineReader() : MakePipeLineReader();
  Conversation conversation(session, screen, at_terminal);
  std::string message;
  while (true) {
    const auto result = at_terminal ? ReadMessage(*reader, screen.UserPrompt(), message) : reader->Read("", message);
    if (result == LineReader::Result::kInterrupted) {
      if (!at_terminal) return kExitInterrupted;
      screen.Note("(/quit or Ctrl-D leaves)");
      continue;
    }
    if (result == LineReader::Result::kEnd) {
      if (at_terminal) std::printf("\n");
      return kExitDone;
    }
    try {
      if (!conversation.Handle(message)) return kExitDone;
    } catch (const UserError& e) {
      if (!at_terminal) throw;
      screen.Error(e.what());
    } catch (const MachineError& e) {
      if (!at_terminal) throw;
      screen.Error(e.what());
    }
    if (!at_terminal && InterruptGuard::Interrupted()) return kExitInterrupted;
  }
}

int RunChat(const ChatFlags& flags, const CommonOptions& common) {
  const bool at_terminal = isatty(STDIN_FILENO) != 0;
  const auto path = ResolveModelPath(common.model);
  const auto chat_template = LoadChatTemplate(path);
  const LoadedCheckpoint model = LoadForGeneration(path, LoadOptionsOf(common));
  const auto& tokenizer = model.loaded.tokenizer;
  const ModelConfig& config = model.loaded.model->config();

  ChatOptions options{.sampling = ChatSampling(flags.sampling, model.generation_config), .max_new_tokens = flags.max_new_tokens,
                      .max_history_turns = flags.max_history_turns};
  options.sampling.seed = ChooseSeed(common.seed_given, common.seed);
  options.stop_token_ids = ResolveEosTokens(model.generation_config, config, tokenizer->eos_id());
  if (tokenizer->eos_id() >= 0) options.stop_token_ids.push_back(tokenizer->eos_id());  // a template's end of turn
  const auto make_engine = [&](int64_t num_tokens) {
    auto runner = std::make_unique<PagedRunner>(
        model.loaded.model, PagedRunnerOptions{.num_pages = (num_tokens + kPageTokens - 1) / kPageTokens, .max_sequence_tokens = num_tokens});
    return std::make_unique<Engine>(std::move(runner), tokenizer, EngineOptions{.context_length = model.loaded.context_length, .max_running = 1});
  };
  ChatSession session(make_engine, tokenizer, chat_template, model.loaded.context_length, std::move(options));
  session.SetSystem(flags.system);
  if (at_terminal) {
    ChatScreen(TerminalShowsColours()).Note(fmt::format("{}: {} tokens of context. /help lists the commands.", path.stem().string(),
                                                        model.loaded.context_length));
  }
  InterruptGuard guard;
  return Converse(session, at_terminal);
}

}  // namespace

VerbFunction AddChat(CLI::App& app, CommonOptions& common) {
  auto flags = std::make_shared<ChatFlags>();
  CLI::App* verb = app.add_subcommand("chat", "talk to a model");
  AddText(*verb, "--system", flags->system, "the system prompt");
  AddInteger(*verb, "--max-history-turns", flags->max_history_turns, "say at most so many turns to the model, 0 as many as fit (0)", 0);
  AddInteger(*verb, "--max-new-tokens", flags->max_new_tokens, "of one answer (2048)", 1);
  AddSamplingFlags(*verb, flags->sampling);
  AddCommonOptions(*verb, common, kModelFlag | kCacheFlag);
  verb->footer(
      std::string("Sampling that is not set comes from generation_config.json, else temperature 0.3 and top-p 0.9.\n"
                  "Where stdin is not a terminal each of its lines is a turn.\n\nCommands:\n") + kHelp +
      "\n\nExamples:\n  fathom chat\n  fathom chat --model DIR --system 'You answer in one sentence.'\n  echo 'Why is the sky blue?' | fathom chat");
  return [flags, &common] { return RunChat(*flags, common); };
}

}  // namespace fathom
