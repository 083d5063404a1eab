#include "serve/http_server.h"

#include <boost/asio/dispatch.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cerrno>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "serve/request_ids.h"

namespace fathom {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;
using boost::system::error_code;

struct HttpServer::State : std::enable_shared_from_this<HttpServer::State> {
  HttpOptions options;
  HttpHandler handler;
  asio::io_context io;
  tcp::acceptor acceptor{io};
  asio::steady_timer retry{io};
  std::vector<std::thread> threads;
  std::atomic<bool> is_draining = false;
  std::atomic<bool> is_over = false;  // nobody runs handlers any more: one that was posted would keep its connection, and so this, for ever
  std::atomic<int64_t> num_open = 0;
  mutable std::mutex mutex;
  std::map<HttpConnection*, std::weak_ptr<HttpConnection>> connections;

  void Listen();
  void Accept();
  void CloseAll(bool busy_too);
};

class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(std::shared_ptr<HttpServer::State> server, tcp::socket socket) : server_(std::move(server)), stream_(std::move(socket)) {
    error_code ignored;
    const auto endpoint = stream_.socket().remote_endpoint(ignored);
    if (!ignored) remote_ = endpoint.address().to_string();
    stream_.socket().set_option(tcp::no_delay(true), ignored);
  }
  ~HttpConnection() {
    const std::lock_guard lock(server_->mutex);
    server_->connections.erase(this);
  }

  void Start() {
    asio::dispatch(stream_.get_executor(), [self = shared_from_this()] { self->ReadHeader(); });
  }
  void Dispatch(std::function<void()> work) {
    if (!server_->is_over) asio::dispatch(stream_.get_executor(), std::move(work));
  }
  void Post(std::function<void()> work) {
    if (!server_->is_over) asio::post(stream_.get_executor(), std::move(work));
  }
  // Closes it where it waits for a request, or also under way.
  void Close(bool busy_too) {
    Dispatch([self = shared_from_this(), busy_too] {
      if (busy_too || !self->is_busy_) self->Close();
    });
  }

  // What follows runs on the connection's strand.
  bool IsCurrent(uint64_t exchange) const { return is_busy_ && exchange == exchange_; }

  void Begin(int status, std::string_view content_type, const HttpHeaders& headers, std::optional<size_t> length) {
    if (has_begun_) return;
    has_begun_ = true;
    record_.status = status;
    keeps_alive_ = keeps_alive_ && !server_->is_draining;
    is_chunked_ = !length && version_ >= 11;
    keeps_alive_ = keeps_alive_ && (length || is_chunked_);
    std::string head = fmt::format("HTTP/1.1 {} {}\r\nServer: fathom\r\n", status, std::string(http::obsolete_reason(static_cast<http::status>(status))));
    const auto add = [&](std::string_view name, std::string_view value) { head += fmt::format("{}: {}\r\n", name, value); };
    if (!content_type.empty()) add("Content-Type", content_type);
    for (const auto& [name, value] : headers) add(name, value);
    add("X-Request-Id", record_.request_id);
    if (!record_.trace_id.empty()) add("Traceparent", TraceParent(record_.trace_id));
    if (length) add("Content-Length", std::to_string(*length));
    else if (is_chunked_) add("Transfer-Encoding", "chunked");
    if (!keeps_alive_) add("Connection", "close");
    else if (version_ < 11) add("Connection", "keep-alive");
    Queue(head + "\r\n");
  }
  void WriteBody(std::string_view bytes, bool is_piece) {
    if (bytes.empty() || is_head_) return;
    if (is_piece && is_chunked_) Queue(fmt::format("{:x}\r\n{}\r\n", bytes.size(), bytes));
    else Queue(std::string(bytes));
  }
  void End() {
    if (is_chunked_ && !is_head_) Queue("0\r\n\r\n");
    has_ended_ = true;
    Flush();
  }
  void OnGone(std::function<void()> gone) { gone_ = std::move(gone); }

 private:
  void ReadHeader() {
    parser_.emplace();
    parser_->header_limit(static_cast<uint32_t>(server_->options.most_header_bytes));
    parser_->body_limit(server_->options.most_body_bytes);
    stream_.expires_after(server_->options.idle_limit);
    http::async_read_header(stream_, buffer_, *parser_, [self = shared_from_this()](error_code error, size_t) { self->OnHeader(error); });
  }

  void OnHeader(error_code error) {
    if (error) return Refuse(error);
    if (parser_->get()[http::field::expect] == "100-continue") {
      static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
      asio::async_write(stream_, asio::buffer(kContinue), [self = shared_from_this()](error_code failed, size_t) {
        if (failed) return self->Close();
        self->ReadBody();
      });
      return;
    }
    ReadBody();
  }
  void ReadBody() {
    http::async_read(stream_, buffer_, *parser_, [self = shared_from_this()](error_code error, size_t) { self->OnRequest(error); });
  }

  void StartExchange() {
    ++exchange_;
    is_busy_ = true;
    ++server_->num_open;
    has_begun_ = has_ended_ = is_chunked_ = is_head_ = false;
    begun_ = std::chrono::steady_clock::now();
    record_ = {};
    record_.remote = remote_;
  }

  // What could not be read as a request.
  void Refuse(error_code error) {
    if (error == http::error::end_of_stream || error == beast::error::timeout || error == asio::error::operation_aborted ||
        error == asio::error::connection_reset || error == asio::error::eof || error == http::error::partial_message) {
      return Close();
    }
    StartExchange();
    keeps_alive_ = false;
    version_ = 11;
    record_.request_id = NewRequestId();
    int status = 400;
    if (error == http::error::body_limit) status = 413;
    if (error == http::error::header_limit || error == http::error::buffer_overflow) status = 431;
    std::string body = fmt::format(
        R"({{"error":{{"message":"not a request that is served here: {}","type":"invalid_request_error","param":null,"code":null}}}})", error.message());
    Begin(status, "application/json", {}, body.size());
    WriteBody(body, false);
    End();
  }

  void OnRequest(error_code error) {
    if (error) return Refuse(error);
    StartExchange();
    auto message = parser_->release();
    HttpRequest request;
    request.method = std::string(message.method_string());
    const std::string target(message.target());
    const size_t question = target.find('?');
    request.path = target.substr(0, question);
    if (question != std::string::npos) request.query = target.substr(question + 1);
    for (const auto& field : message) {
      std::string name(field.name_string());
      std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      request.headers.emplace_back(std::move(name), std::string(field.value()));
    }
    request.body = std::move(message.body());
    request.remote = remote_;
    request.request_id = IsRequestId(request.Header("x-request-id")) ? std::string(request.Header("x-request-id")) : NewRequestId();
    request.trace_id = ParseTraceParent(request.Header("traceparent"));
    keeps_alive_ = message.keep_alive();
    version_ = static_cast<int>(message.version());
    is_head_ = request.method == "HEAD";
    record_.request_id = request.request_id;
    record_.trace_id = request.trace_id;
    record_.method = request.method;
    record_.path = request.path;
    record_.bytes_in = static_cast<int64_t>(request.body.size());
    stream_.expires_never();
    WatchForClose();
    server_->handler(request, Responder(shared_from_this(), exchange_));
  }

  // A socket that can be read while its answer is under way has the next request, or its end. It may also be that the reactor tells of bytes that were
  // read meanwhile: only a look at the socket knows.
  void WatchForClose() {
    stream_.socket().async_wait(tcp::socket::wait_read, [self = shared_from_this(), exchange = exchange_](error_code error) {
      if (!self->IsCurrent(exchange)) return;
      if (error) return self->Close();
      char next = 0;
      const ssize_t count = ::recv(self->stream_.socket().native_handle(), &next, 1, MSG_PEEK | MSG_DONTWAIT);
      if (count > 0) return;
      if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return self->WatchForClose();
      self->Close();
    });
  }

  void Queue(std::string bytes) {
    record_.bytes_out += static_cast<int64_t>(bytes.size());
    if (unsent_.empty()) unsent_ = std::move(bytes);
    else unsent_ += bytes;
    if (unsent_.size() > server_->options.most_unsent_bytes + server_->options.most_body_bytes && is_writing_) return Close();
    Flush();
  }

  void Flush() {
    if (is_writing_ || is_closed_) return;
    if (unsent_.empty()) {
      if (has_ended_) FinishExchange();
      return;
    }
    is_writing_ = true;
    sending_ = std::exchange(unsent_, {});
    stream_.expires_after(server_->options.write_limit);
    asio::async_write(stream_, asio::buffer(sending_), [self = shared_from_this()](error_code error, size_t) {
      self->is_writing_ = false;
      self->stream_.expires_never();
      if (error) return self->Close();
      self->Flush();
    });
  }

  void FinishExchange() {
    if (!is_busy_) return;
    LeaveExchange(false);
    if (!keeps_alive_ || server_->is_draining) return Close();
    ReadHeader();
  }

  void LeaveExchange(bool is_gone) {
    is_busy_ = false;
    has_ended_ = false;
    gone_ = nullptr;
    record_.is_gone = is_gone;
    record_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun_).count();
    if (server_->options.on_exchange) server_->options.on_exchange(record_);
    --server_->num_open;
    if (sending_.capacity() > 65536) std::string().swap(sending_);
  }

  void Close() {
    if (is_closed_) return;
    is_closed_ = true;
    error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    stream_.close();
    if (!is_busy_) return;
    const auto gone = std::exchange(gone_, nullptr);
    LeaveExchange(true);
    if (gone) gone();
  }

  std::shared_ptr<HttpServer::State> server_;
  beast::tcp_stream stream_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  std::string remote_, unsent_, sending_;
  std::function<void()> gone_;
  ExchangeRecord record_;
  std::chrono::steady_clock::time_point begun_;
  uint64_t exchange_ = 0;
  int version_ = 11;
  bool is_busy_ = false, is_closed_ = false, is_writing_ = false, is_chunked_ = false, is_head_ = false;
  bool has_begun_ = false, has_ended_ = false, keeps_alive_ = true;

  friend class Responder;
};

std::string_view HttpRequest::Header(std::string_view lower_case_name) const {
  for (const auto& [name, value] : headers) {
    if (name == lower_case_name) return value;
  }
  return {};
}

void Responder::Post(std::function<void()> work) const { connection_->Post(std::move(work)); }

void Responder::Send(int status, std::string_view content_type, std::string body, HttpHeaders headers) const {
  connection_->Dispatch([c = connection_, e = exchange_, status, type = std::string(content_type), body = std::move(body), headers = std::move(headers)] {
    if (!c->IsCurrent(e) || c->has_ended_) return;
    c->Begin(status, type, headers, body.size());
    c->WriteBody(body, false);
    if (c->IsCurrent(e)) c->End();
  });
}

void Responder::Begin(int status, std::string_view content_type, HttpHeaders headers) const {
  connection_->Dispatch([c = connection_, e = exchange_, status, type = std::string(content_type), headers = std::move(headers)] {
    if (c->IsCurrent(e)) c->Begin(status, type, headers, std::nullopt);
  });
}

void Responder::Write(std::string bytes) const {
  connection_->Dispatch([c = connection_, e = exchange_, bytes = std::move(bytes)] {
    if (c->IsCurrent(e) && !c->has_ended_) c->WriteBody(bytes, true);
  });
}

void Responder::End() const {
  connection_->Dispatch([c = connection_, e = exchange_] {
    if (c->IsCurrent(e) && !c->has_ended_) c->End();
  });
}

void Responder::OnGone(std::function<void()> gone) const {
  connection_->Dispatch([c = connection_, e = exchange_, gone = std::move(gone)] {
    if (c->IsCurrent(e)) c->OnGone(gone);
    else gone();
  });
}

void HttpServer::State::Listen() {
  error_code error;
  const auto address = asio::ip::make_address(options.host == "localhost" ? "127.0.0.1" : options.host, error);
  FATHOM_USER_CHECK(!error, "--host must be an address such as 127.0.0.1, 0.0.0.0 or ::1, got '{}'", options.host);
  const tcp::endpoint endpoint(address, static_cast<uint16_t>(options.port));
  const auto check = [&](const char* what) {
    FATHOM_USER_CHECK(!error, "--host {} --port {}: cannot {}: {}", options.host, options.port, what, error.message());
  };
  acceptor.open(endpoint.protocol(), error);
  check("open a socket");
  acceptor.set_option(asio::socket_base::reuse_address(true), error);
  acceptor.bind(endpoint, error);
  check("bind");
  acceptor.listen(asio::socket_base::max_listen_connections, error);
  check("listen");
}

void HttpServer::State::Accept() {
  acceptor.async_accept(asio::make_strand(io), [self = shared_from_this()](error_code error, tcp::socket socket) {
    if (!self->acceptor.is_open()) return;
    if (error) {  // such as no file left: what is open goes on, and so do we after a while
      self->retry.expires_after(std::chrono::milliseconds(100));
      self->retry.async_wait([self](error_code stopped) {
        if (!stopped) self->Accept();
      });
      return;
    }
    bool is_welcome = false;
    {
      const std::lock_guard lock(self->mutex);
      is_welcome = static_cast<int64_t>(self->connections.size()) < self->options.most_connections;
    }
    if (is_welcome) {
      const auto connection = std::make_shared<HttpConnection>(self, std::move(socket));
      {
        const std::lock_guard lock(self->mutex);
        is_welcome = !self->is_draining;
        if (is_welcome) self->connections.emplace(connection.get(), connection);
      }
      if (is_welcome) connection->Start();
    }
    self->Accept();
  });
}

HttpServer::HttpServer(const HttpOptions& options, HttpHandler handler) : state_(std::make_shared<State>()) {
  state_->options = options;
  state_->handler = std::move(handler);
  state_->Listen();
  state_->Accept();
  for (int i = 0; i < std::max(options.num_threads, 1); ++i) {
    state_->threads.emplace_back([state = state_.get()] { state->io.run(); });
  }
}

HttpServer::~HttpServer() {
  state_->CloseAll(/*busy_too=*/true);
  // Nothing is left to wait for once every socket is closed.
  for (std::thread& thread : state_->threads) thread.join();
  state_->is_over = true;
  state_->io.restart();
  state_->io.poll();  // what was posted by other threads since
  state_->handler = nullptr;
  state_->options.on_exchange = nullptr;
}

int HttpServer::port() const { return state_->acceptor.local_endpoint().port(); }
int64_t HttpServer::num_open_exchanges() const { return state_->num_open; }

int64_t HttpServer::num_connections() const {
  const std::lock_guard lock(state_->mutex);
  return static_cast<int64_t>(state_->connections.size());
}

void HttpServer::Drain() { state_->CloseAll(/*busy_too=*/false); }

void HttpServer::State::CloseAll(bool busy_too) {
  asio::post(io, [self = shared_from_this()] {
    error_code ignored;
    self->acceptor.close(ignored);
    self->retry.cancel();
  });
  std::vector<std::shared_ptr<HttpConnection>> open;
  {
    const std::lock_guard lock(mutex);
    is_draining = true;
    for (const auto& [key, connection] : connections) {
      if (auto held = connection.lock()) open.push_back(std::move(held));
    }
  }
  for (const auto& connection : open) connection->Close(busy_too);
}

}  // namespace fathom
