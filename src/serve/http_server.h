// HTTP/1.1 for many open connections on a few threads: reads requests within limits, hands each to a handler, and writes its answer, whole or as
// a stream, whenever it comes. Knows nothing of models.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fathom {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method, path, query, body;
  HttpHeaders headers = {};  // names in lower case
  std::string request_id;    // the client's x-request-id where it is one, else ours
  std::string trace_id;      // of the client's traceparent header; empty: none
  std::string remote;        // the client's address
  // The value of a header, empty where it is not there.
  std::string_view Header(std::string_view lower_case_name) const;
};

// What an exchange came to, for the access log.
struct ExchangeRecord {
  std::string request_id, trace_id, remote, method, path;
  int status = 0;
  int64_t bytes_in = 0, bytes_out = 0;
  double seconds = 0;
  bool is_gone = false;  // the client left before the end
};

struct HttpOptions {
  std::string host = "127.0.0.1";
  int port = 8000;  // 0: any free one
  int num_threads = 2;
  size_t most_header_bytes = 32 << 10;
  size_t most_body_bytes = 32 << 20;
  size_t most_unsent_bytes = 16 << 20;  // of a stream whose client does not read
  int64_t most_connections = 4096;
  std::chrono::seconds idle_limit{120};   // for a whole request to arrive
  std::chrono::seconds write_limit{30};   // for what was sent to be taken
  std::function<void(const ExchangeRecord&)> on_exchange = {};  // on any thread
};

// The way back to the client of one request. Copies mean the same one; every function may be called on any thread, and does nothing any more when
// the client is gone.
class HttpConnection;
class Responder {
 public:
  Responder(std::shared_ptr<HttpConnection> connection, uint64_t exchange) : connection_(std::move(connection)), exchange_(exchange) {}

  // Runs `work` where nothing else of this connection runs at the same time.
  void Post(std::function<void()> work) const;
  // The whole answer.
  void Send(int status, std::string_view content_type, std::string body, HttpHeaders headers = {}) const;
  // An answer in pieces: Begin, any number of Write, End.
  void Begin(int status, std::string_view content_type, HttpHeaders headers = {}) const;
  void Write(std::string bytes) const;
  void End() const;
  // Called once if the client leaves before the end (at once if it has left).
  void OnGone(std::function<void()> gone) const;

 private:
  std::shared_ptr<HttpConnection> connection_;
  uint64_t exchange_;
};

// Called on one of the server's threads; must not throw, and must answer now or later.
using HttpHandler = std::function<void(const HttpRequest&, const Responder&)>;

class HttpServer {
 public:
  // Binds the port. Throws UserError when that cannot be done.
  HttpServer(const HttpOptions& options, HttpHandler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const;
  // Requests whose answer has not ended.
  int64_t num_open_exchanges() const;
  int64_t num_connections() const;
  // Takes no new connections and closes those without a request; the others close after their answer.
  void Drain();

  struct State;  // the connections' too

 private:
  std::shared_ptr<State> state_;
};

}  // namespace fathom
