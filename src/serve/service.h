// The endpoints: from an HTTP request to what answers it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "serve/call_runner.h"
#include "serve/grammar_worker.h"
#include "serve/http_server.h"
#include "serve/metrics.h"
#include "serve/served_model.h"
#include "serve/sessions.h"

namespace fathom {

struct ServiceOptions {
  std::vector<std::string> api_keys = {};  // empty: everybody may
  std::string cors_origin = "*";           // empty: no CORS headers
  std::optional<SessionOptions> sessions = {};  // empty: none are kept
};

class Service {
 public:
  Service(ServedModel model, ServiceOptions options);

  // The handler of an HttpServer: answers everything, never throws.
  void Handle(const HttpRequest& request, const Responder& responder);
  // No new work is taken: /ready says so, the rest goes on.
  void Drain() { is_draining_ = true; }

  // Method and path of each endpoint, without the page's files.
  static std::vector<std::pair<std::string, std::string>> Endpoints();
  Metrics& metrics() { return metrics_; }
  const ServedModel& model() const { return model_; }
  // Set where /metrics shall count connections.
  std::function<int64_t()> count_connections = {};

 private:
  struct Route;
  static const std::vector<Route>& Routes();
  void Answer(const HttpRequest& request, const Responder& responder);
  // The key that the request carries; empty where no keys are asked for. Throws a 401.
  std::string CheckKey(const HttpRequest& request) const;
  void AnswerSession(const HttpRequest& request, const std::string& id, const Responder& responder);
  Sessions& KeptSessions();
  HttpHeaders CommonHeaders() const;
  void SendError(const Responder& responder, const std::exception& error, bool is_messages) const;
  void Send(const Responder& responder, const OrderedJson& body) const;
  // Compiles the call's grammar, where it has one, and runs it.
  void Call(GenerationCall call, bool is_chat, FormatFactory format, const Responder& responder);

  void Chat(const OrderedJson& body, const std::string& key, const Responder& responder);

  OrderedJson Models() const;
  OrderedJson Props() const;
  OrderedJson TokenizerInfo() const;
  OrderedJson TokenizeBody(const OrderedJson& body) const;
  OrderedJson DetokenizeBody(const OrderedJson& body) const;

  ServedModel model_;
  ServiceOptions options_;
  Metrics metrics_;
  std::unique_ptr<Sessions> sessions_;
  std::atomic<bool> is_draining_ = false;
  GrammarWorker grammars_;  // last: its thread uses the rest
};

// Whether `given` is one of the keys, in a time that depends on their lengths alone.
bool IsKnownKey(std::string_view given, const std::vector<std::string>& keys);

}  // namespace fathom
