// A server over a fake model. A prompt ends with the byte 1 and says what shall be answered: "say hello\x01" gives "hello" and the end token. After
// a prompt that begins with "#" come "#" without end.
#pragma once

#include <memory>
#include <string>

#include "engine/engine_thread.h"
#include "engine/fake_runner.h"
#include "serve/http_server.h"
#include "serve/service.h"

namespace fathom {

// "role:content\n" for each message, then "assistant" and the byte 1.
class LineTemplate : public ChatTemplate {
 public:
  std::string Render(const TemplateInput& input) const override {
    std::string text;
    if (input.tools.is_array()) text += "tools:" + std::to_string(input.tools.size()) + "\n";
    for (const auto& m : input.messages) text += m["role"].get<std::string>() + ":" + m["content"].get<std::string>() + "\n";
    return text + (input.add_generation_prompt ? "assistant\x01" : "");
  }
};

struct ServedFakeOptions {
  EngineOptions engine = {.context_length = 2000, .max_running = 64, .tokens_per_step = 256};
  HttpOptions http = {};
  ServiceOptions service = {};
  int64_t num_pages = 500;
  bool starts_engine = true;
};

class ServedFake {
 public:
  explicit ServedFake(ServedFakeOptions options = {}) {
    const auto rule = [](const std::vector<int32_t>& tokens) -> int32_t {
      const std::string text(tokens.begin(), tokens.end());
      const size_t end = text.find('\x01'), start = text.find("say ");
      if (text[0] == '#') return '#';
      if (end == std::string::npos || start == std::string::npos) return 'x';
      const std::string says = text.substr(start + 4, text.find_first_of("\n\x01", start) - start - 4);
      const size_t said = text.size() - end - 1;
      return said < says.size() ? static_cast<unsigned char>(says[said]) : ByteTokenizer::kEnd;
    };
    auto made = std::make_unique<FakeRunner>(257, rule, options.num_pages);
    runner = made.get();
    tokenizer = std::make_shared<ByteTokenizer>();
    engine = std::make_unique<Engine>(std::move(made), tokenizer, options.engine);
    ServedModel model{.names = {"fake", "alias"}, .path = "/models/fake", .engine = engine.get(), .tokenizer = tokenizer,
                      .chat_template = std::make_shared<LineTemplate>(), .eos_tokens = {ByteTokenizer::kEnd},
                      .max_model_len = options.engine.context_length, .created = 1, .version = "1.2.3"};
    service = std::make_unique<Service>(std::move(model), options.service);
    if (options.starts_engine) StartEngine();
    options.http.port = 0;
    server = std::make_unique<HttpServer>(options.http, [this](const HttpRequest& request, const Responder& responder) { service->Handle(request, responder); });
  }
  ~ServedFake() {
    server.reset();
    thread.reset();
  }
  void StartEngine() { thread = std::make_unique<EngineThread>(*engine, 1); }
  int port() const { return server->port(); }

  FakeRunner* runner = nullptr;
  std::shared_ptr<const Tokenizer> tokenizer;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Service> service;
  std::unique_ptr<EngineThread> thread;
  std::unique_ptr<HttpServer> server;
};

}  // namespace fathom
