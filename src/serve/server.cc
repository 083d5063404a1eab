#include "serve/server.h"

#include <fmt/chrono.h>

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "engine/engine_thread.h"
#include "engine/generation_config.h"
#include "engine/paged_runner.h"
#include "serve/answer_format.h"

namespace fathom {
namespace {

// Every connection is a file: as many as the system lets us have.
void RaiseFileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

int64_t PagesFor(int64_t num_tokens) { return (num_tokens + kPageTokens - 1) / kPageTokens; }

std::shared_ptr<const ChatTemplate> LoadTemplate(const std::filesystem::path& path) {
  try {
    return ChatTemplate::Load(path);
  } catch (const UserError& error) {  // the endpoints without a template work all the same
    LogWarn("no chat: {}", error.what());
    return nullptr;
  }
}

std::unique_ptr<Engine> MakeEngine(const LoadedCheckpoint& model, const ServeOptions& options, int64_t* max_model_len) {
  const auto& loaded = model.loaded;
  const ModelOptions& model_options = loaded.model->options();
  FATHOM_USER_CHECK(!options.use_mtp || loaded.model->config().num_nextn_predict_layers > 0, "--speculate-mtp: {} has no MTP module", model.path.string());
  int64_t context = loaded.context_length;
  if (options.max_model_len > 0) {
    FATHOM_USER_CHECK(options.max_model_len <= context, "--max-model-len {} is more than the model's context of {}", options.max_model_len, context);
    context = options.max_model_len;
  }
  const int64_t least = options.max_model_len > 0 ? context : std::min<int64_t>(context, kPageTokens * 8);
  const int64_t num_pages = ChoosePages(loaded.model->config(), model_options, options.memory_fraction, PagesFor(context) * options.max_num_seqs, least);
  *max_model_len = std::min(context, num_pages * kPageTokens);
  auto runner = std::make_unique<PagedRunner>(loaded.model, PagedRunnerOptions{.num_pages = num_pages, .max_sequence_tokens = *max_model_len, .use_mtp = options.use_mtp});
  return std::make_unique<Engine>(std::move(runner), loaded.tokenizer,
                                  EngineOptions{.context_length = *max_model_len, .max_running = options.max_num_seqs,
                                                .tokens_per_step = options.tokens_per_step, .max_waiting = options.max_waiting,
                                                .reuse_prefixes = options.reuse_prefixes, .num_drafts = options.num_drafts});
}

// One token through everything, so that the first client does not wait for what is made at first use.
void WarmUp(Engine& engine) {
  GenerateOn(engine, {.prompt = {0}, .max_new_tokens = 2}, [](const Delta&) { return true; });
}

}  // namespace

std::string AccessLogLine(const ExchangeRecord& record) {
  const auto now = std::chrono::system_clock::now();
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  const OrderedJson line = {{"time", fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(std::chrono::system_clock::to_time_t(now)), milliseconds)},
                            {"request_id", record.request_id},
                            {"trace_id", record.trace_id.empty() ? OrderedJson() : OrderedJson(record.trace_id)},
                            {"remote", record.remote},
                            {"method", record.method},
                            {"path", record.path.substr(0, 200)},
                            {"status", record.status},
                            {"bytes_in", record.bytes_in},
                            {"bytes_out", record.bytes_out},
                            {"ms", static_cast<int64_t>(record.seconds * 1e6) / 1000.0},
                            {"client_left", record.is_gone}};
  return DumpJson(line);
}

void Serve(const LoadedCheckpoint& model, const ServeOptions& options, const std::function<bool()>& asked_to_end,
           const std::function<void(const ServeStarted&)>& on_started) {
  RaiseFileLimit();
  const auto& loaded = model.loaded;
  int64_t max_model_len = 0;
  const std::unique_ptr<Engine> engine = MakeEngine(model, options, &max_model_len);
  WarmUp(*engine);

  ServedModel served{.names = options.names, .path = model.path.string(), .engine = engine.get(), .tokenizer = loaded.tokenizer,
                     .chat_template = LoadTemplate(model.path), .generation_config = model.generation_config};
  if (served.names.empty()) served.names.push_back(model.path.has_filename() ? model.path.stem().string() : model.path.parent_path().stem().string());
  served.eos_tokens = ResolveEosTokens(model.generation_config, loaded.model->config(), loaded.tokenizer->eos_id());
  if (loaded.tokenizer->eos_id() >= 0) served.eos_tokens.push_back(loaded.tokenizer->eos_id());  // a template's end of turn
  served.max_model_len = max_model_len;
  served.created = static_cast<int64_t>(UnixSeconds());
  served.version = options.version;
  const std::string name = served.name();
  Service service(std::move(served), options.service);

  const EngineThread thread(*engine, options.compute_threads);
  HttpOptions http = options.http;
  http.on_exchange = [&](const ExchangeRecord& record) {
    if (record.status > 0) service.metrics().CountResponse(record.status);
    if (options.http.on_exchange) options.http.on_exchange(record);
  };
  HttpServer server(http, [&](const HttpRequest& request, const Responder& responder) { service.Handle(request, responder); });
  service.count_connections = [&] { return server.num_connections(); };
  const std::string host = http.host.find(':') != std::string::npos ? "[" + http.host + "]" : http.host;
  on_started({.name = name, .url = fmt::format("http://{}:{}", host, server.port()),
              .cache_tokens = engine->stats().scheduler.num_blocks * kBlockTokens, .max_model_len = max_model_len});

  constexpr std::chrono::milliseconds kLook{50};
  while (!asked_to_end()) std::this_thread::sleep_for(kLook);
  service.Drain();
  server.Drain();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(options.drain_seconds);
  while (server.num_open_exchanges() > 0 && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(kLook);
}

}  // namespace fathom
