#include "serve/service.h"

#include <xxhash.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/utf8.h"
#include "serve/answer_format.h"
#include "serve/anthropic.h"
#include "serve/api_error.h"
#include "serve/embeddings.h"
#include "serve/session_call.h"
#include "serve/static_files.h"

namespace fathom {
namespace {

std::unique_ptr<AnswerFormat> LlamaFormatOf(const GenerationCall& call, const ServedModel&) { return NewLlamaFormat(call); }
std::unique_ptr<AnswerFormat> GenerateFormatOf(const GenerationCall&, const ServedModel&) { return NewGenerateFormat(); }

// Who a session belongs to: the key's hash, so that no key lies in the file.
std::string OwnerOf(const std::string& key) {
  const XXH128_hash_t hash = XXH3_128bits(key.data(), key.size());
  return key.empty() ? "" : fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace

bool IsKnownKey(std::string_view given, const std::vector<std::string>& keys) {
  bool is_known = false;
  for (const std::string& key : keys) {
    size_t differ = given.size() ^ key.size();
    for (size_t i = 0; i < key.size(); ++i) {
      const char c = given.empty() ? '\0' : given[i % given.size()];
      differ |= static_cast<unsigned char>(c ^ key[i]);
    }
    is_known |= differ == 0;
  }
  return is_known;
}

struct Service::Route {
  const char* method;
  const char* path;
  bool needs_key;
  void (*answer)(Service&, const OrderedJson& body, const std::string& key, const Responder&);
};

const std::vector<Service::Route>& Service::Routes() {
  using J = const OrderedJson&;
  using K = const std::string&;
  using R = const Responder&;
  static const std::vector<Route> kRoutes = {
      {"GET", "/health", false, [](Service& s, J, K, R r) { s.Send(r, {{"status", "ok"}}); }},
      {"GET", "/ready", false, [](Service& s, J, K, R r) {
         if (s.is_draining_) throw ApiError(503, "the server is about to end");
         s.Send(r, {{"status", "ready"}});
       }},
      {"GET", "/version", false, [](Service& s, J, K, R r) { s.Send(r, {{"version", s.model_.version}}); }},
      {"GET", "/metrics", false, [](Service& s, J, K, R r) {
         const int64_t num_connections = s.count_connections ? s.count_connections() : 0;
         r.Send(200, "text/plain; version=0.0.4; charset=utf-8", s.metrics_.Print(s.model_.engine->stats(), s.model_.name(), num_connections), s.CommonHeaders());
       }},
      {"GET", "/v1/models", true, [](Service& s, J, K, R r) { s.Send(r, s.Models()); }},
      {"GET", "/props", true, [](Service& s, J, K, R r) { s.Send(r, s.Props()); }},
      {"GET", "/tokenizer_info", true, [](Service& s, J, K, R r) { s.Send(r, s.TokenizerInfo()); }},
      {"POST", "/v1/chat/completions", true, [](Service& s, J b, K k, R r) { s.Chat(b, k, r); }},
      {"POST", "/v1/completions", true, [](Service& s, J b, K, R r) { s.Call(ReadCompletionCall(b, s.model_), false, NewCompletionFormat, r); }},
      {"POST", "/v1/embeddings", true, [](Service& s, J b, K, R r) { AnswerEmbeddings(b, s.model_, s.CommonHeaders(), r); }},
      {"POST", "/v1/messages", true, [](Service& s, J b, K, R r) { s.Call(ReadMessagesCall(b, s.model_, false), true, NewMessagesFormat, r); }},
      {"POST", "/v1/messages/count_tokens", true, [](Service& s, J b, K, R r) {
         s.Send(r, {{"input_tokens", ReadMessagesCall(b, s.model_, true).prompts[0].size()}});
       }},
      {"POST", "/completion", true, [](Service& s, J b, K, R r) { s.Call(ReadLlamaCall(b, s.model_), false, LlamaFormatOf, r); }},
      {"POST", "/completions", true, [](Service& s, J b, K, R r) { s.Call(ReadLlamaCall(b, s.model_), false, LlamaFormatOf, r); }},
      {"POST", "/infill", true, [](Service& s, J b, K, R r) { s.Call(ReadInfillCall(b, s.model_), false, LlamaFormatOf, r); }},
      {"POST", "/generate", true, [](Service& s, J b, K, R r) { s.Call(ReadGenerateCall(b, s.model_), false, GenerateFormatOf, r); }},
      {"POST", "/tokenize", true, [](Service& s, J b, K, R r) { s.Send(r, s.TokenizeBody(b)); }},
      {"POST", "/detokenize", true, [](Service& s, J b, K, R r) { s.Send(r, s.DetokenizeBody(b)); }},
      {"POST", "/apply-template", true, [](Service& s, J b, K, R r) {
         const JsonFields fields(b);
         s.Send(r, {{"prompt", RenderMessages(fields, s.model_, fields.Boolean("add_generation_prompt").value_or(true))}});
       }},
  };
  return kRoutes;
}

std::vector<std::pair<std::string, std::string>> Service::Endpoints() {
  std::vector<std::pair<std::string, std::string>> endpoints;
  for (const Route& route : Routes()) endpoints.emplace_back(route.method, route.path);
  return endpoints;
}

Service::Service(ServedModel model, ServiceOptions options) : model_(std::move(model)), options_(std::move(options)), grammars_(model_) {
  if (options_.sessions) sessions_ = std::make_unique<Sessions>(*options_.sessions);
}

void Service::Handle(const HttpRequest& request, const Responder& responder) {
  try {
    Answer(request, responder);
  } catch (const std::exception& error) {
    SendError(responder, error, request.path.substr(0, 12) == "/v1/messages");
  }
}

void Service::SendError(const Responder& responder, const std::exception& error, bool is_messages) const {
  const ApiError told = ToApiError(error);
  HttpHeaders headers = CommonHeaders();
  if (told.status() == 429) headers.emplace_back("Retry-After", "1");
  if (told.status() == 401) headers.emplace_back("WWW-Authenticate", "Bearer");
  responder.Send(told.status(), "application/json", is_messages ? MessagesErrorBody(told) : ErrorBody(told), std::move(headers));
}

HttpHeaders Service::CommonHeaders() const {
  if (options_.cors_origin.empty()) return {};
  return {{"Access-Control-Allow-Origin", options_.cors_origin}, {"Access-Control-Expose-Headers", "X-Request-Id"}};
}

void Service::Send(const Responder& responder, const OrderedJson& body) const { responder.Send(200, "application/json", DumpJson(body), CommonHeaders()); }

std::string Service::CheckKey(const HttpRequest& request) const {
  if (options_.api_keys.empty()) return "";
  std::string_view given = request.Header("x-api-key");
  const std::string_view authorization = request.Header("authorization");
  if (authorization.substr(0, 7) == "Bearer ") given = authorization.substr(7);
  if (!IsKnownKey(given, options_.api_keys)) throw ApiError(401, "the API key is missing or not known: send 'Authorization: Bearer KEY'", "", "invalid_api_key");
  return std::string(given);
}

void Service::Answer(const HttpRequest& request, const Responder& responder) {
  if (request.method == "OPTIONS") {
    HttpHeaders headers = CommonHeaders();
    headers.emplace_back("Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS");
    headers.emplace_back("Access-Control-Allow-Headers", "Authorization, Content-Type, X-Api-Key, X-Request-Id");
    headers.emplace_back("Access-Control-Max-Age", "86400");
    responder.Send(204, "", "", std::move(headers));
    return;
  }
  const std::string method = request.method == "HEAD" ? "GET" : request.method;
  constexpr std::string_view kModels = "/v1/models/";
  if (method == "GET" && request.path.substr(0, kModels.size()) == kModels) {
    CheckKey(request);
    const std::string name = request.path.substr(kModels.size());
    const OrderedJson models = Models();
    for (const OrderedJson& model : models["data"]) {
      if (model["id"] == name) return Send(responder, model);
    }
    throw ApiError(404, fmt::format("the model '{}' is not served here", name.substr(0, 100)), "model", "model_not_found");
  }
  constexpr std::string_view kSessions = "/v1/sessions/";
  if (request.path.substr(0, kSessions.size()) == kSessions) return AnswerSession(request, request.path.substr(kSessions.size()), responder);
  if (const StaticFile file = FindStaticFile(request.path); !file.bytes.empty() && method == "GET") {
    return responder.Send(200, file.content_type, std::string(file.bytes), StaticFileHeaders());
  }
  bool path_is_known = false;
  for (const Route& route : Routes()) {
    if (request.path != route.path) continue;
    path_is_known = true;
    if (method != route.method) continue;
    const std::string key = route.needs_key ? CheckKey(request) : std::string();
    OrderedJson body;
    if (method == "POST") body = ParseBody(request.body);
    return route.answer(*this, body, key, responder);
  }
  if (path_is_known) throw ApiError(405, fmt::format("{} is not for {}", request.path.substr(0, 100), request.method.substr(0, 20)));
  throw ApiError(404, fmt::format("there is no {} here", request.path.substr(0, 100)));
}

void Service::Call(GenerationCall call, bool is_chat, FormatFactory format, const Responder& responder) {
  const CallContext context{.model = &model_, .metrics = &metrics_, .headers = CommonHeaders()};
  if (call.grammar.parts.empty()) return RunCall(std::move(call), is_chat, format, context, responder);
  std::vector<std::string> parts = call.grammar.parts;
  auto shared = std::make_shared<GenerationCall>(std::move(call));
  const bool is_queued = grammars_.Compile(std::move(parts), [=, this](std::shared_ptr<const Grammar> grammar, const std::exception_ptr& error) {
    responder.Post([=, this] {
      try {
        try {
          if (error) std::rethrow_exception(error);
        } catch (const UserError& found) {
          throw ApiError(400, fmt::format("'{}': {}", shared->grammar.field, found.what()), shared->grammar.field);
        }
        shared->request.grammar = grammar;
        RunCall(std::move(*shared), is_chat, format, context, responder);
      } catch (const std::exception& told) {
        SendError(responder, told, format == NewMessagesFormat);
      }
    });
  });
  if (!is_queued) throw ApiError(429, "too many grammars wait to be compiled; try again later", "", "queue_full");
}

Sessions& Service::KeptSessions() {
  if (sessions_ == nullptr) ThrowBadField("session_id", "this server keeps no sessions: it was started without --sessions");
  return *sessions_;
}

void Service::Chat(const OrderedJson& body, const std::string& key, const Responder& responder) {
  const bool has_session = body.is_object() && body.contains("session_id") && !body["session_id"].is_null();
  Call(has_session ? ReadSessionCall(body, model_, KeptSessions(), OwnerOf(key)) : ReadChatCall(body, model_), true, NewChatFormat, responder);
}

void Service::AnswerSession(const HttpRequest& request, const std::string& id, const Responder& responder) {
  const std::string owner = OwnerOf(CheckKey(request));
  if (request.method == "GET") return Send(responder, SessionJson(KeptSessions(), owner, id));
  if (request.method != "DELETE") throw ApiError(405, fmt::format("{} is not for {}", request.path.substr(0, 100), request.method.substr(0, 20)));
  Send(responder, {{"id", id}, {"object", "session.deleted"}, {"deleted", KeptSessions().Remove(owner, id)}});
}

OrderedJson Service::Models() const {
  OrderedJson list = OrderedJson::array();
  for (const std::string& name : model_.names) {
    list.push_back({{"id", name}, {"object", "model"}, {"created", model_.created}, {"owned_by", "fathom"}, {"root", model_.name()}, {"parent", nullptr}, {"max_model_len", model_.max_model_len}});
  }
  return {{"object", "list"}, {"data", std::move(list)}};
}

OrderedJson Service::Props() const {
  const Tokenizer& tokenizer = *model_.tokenizer;
  const auto text_of = [&](int32_t id) { return id >= 0 ? ReplaceInvalidUtf8(tokenizer.TokenBytes(id)) : std::string(); };
  return {{"default_generation_settings", {{"n_ctx", model_.max_model_len}, {"params", OrderedJson::object()}}},
          {"total_slots", model_.engine->options().max_running},
          {"model_alias", model_.name()},
          {"model_path", model_.path},
          {"modalities", {{"vision", false}, {"audio", false}}},
          {"bos_token", text_of(tokenizer.bos_id())},
          {"eos_token", text_of(tokenizer.eos_id())},
          {"has_chat_template", model_.chat_template != nullptr},
          {"build_info", "fathom " + model_.version}};
}

// vLLM's, by which lm-eval knows that /tokenize is the model's own.
OrderedJson Service::TokenizerInfo() const {
  const Tokenizer& tokenizer = *model_.tokenizer;
  const auto text_of = [&](int32_t id) { return id >= 0 ? OrderedJson(ReplaceInvalidUtf8(tokenizer.TokenBytes(id))) : OrderedJson(); };
  return {{"bos_token", text_of(tokenizer.bos_id())}, {"eos_token", text_of(tokenizer.eos_id())}, {"pad_token", text_of(tokenizer.eos_id())},
          {"vocab_size", tokenizer.vocab_size()}, {"model_max_length", model_.max_model_len}};
}

// llama.cpp's {content, add_special, with_pieces} and vLLM's {prompt | messages, add_special_tokens, add_generation_prompt}.
OrderedJson Service::TokenizeBody(const OrderedJson& body) const {
  const JsonFields fields(body);
  std::vector<int32_t> tokens;
  if (fields.Has("messages")) {
    tokens = model_.tokenizer->Encode(RenderMessages(fields, model_, fields.Boolean("add_generation_prompt").value_or(true)), {.add_bos = false});
  } else {
    const bool is_llama = fields.Has("content");
    const auto text = fields.Text(is_llama ? "content" : "prompt");
    if (!text) ThrowBadField("prompt", "one of 'content', 'prompt' and 'messages' is needed");
    const bool add_special = is_llama ? fields.Boolean("add_special").value_or(false) : fields.Boolean("add_special_tokens").value_or(true);
    tokens = model_.tokenizer->Encode(*text, {.add_bos = add_special && model_.tokenizer->adds_bos(), .match_special = fields.Boolean("parse_special").value_or(true)});
  }
  OrderedJson answer = {{"count", tokens.size()}, {"max_model_len", model_.max_model_len}};
  if (fields.Boolean("with_pieces").value_or(false)) {
    answer["tokens"] = OrderedJson::array();
    for (const int32_t id : tokens) answer["tokens"].push_back({{"id", id}, {"piece", ReplaceInvalidUtf8(model_.tokenizer->TokenBytes(id))}});
  } else {
    answer["tokens"] = tokens;
  }
  return answer;
}

OrderedJson Service::DetokenizeBody(const OrderedJson& body) const {
  const std::vector<int32_t> tokens = JsonFields(body).TokenIds("tokens");
  for (const int32_t id : tokens) {
    if (id >= model_.tokenizer->vocab_size()) ThrowBadField("tokens", "'tokens' holds {}, and the vocabulary has {}", id, model_.tokenizer->vocab_size());
  }
  const std::string text = model_.tokenizer->Decode(tokens, false);
  return {{"content", text}, {"prompt", text}};
}

}  // namespace fathom
