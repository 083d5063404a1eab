#include "serve/http_client.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <stdexcept>

namespace fathom {

std::string HttpAnswer::Header(const std::string& lower_case_name) const {
  for (const auto& [name, value] : headers) {
    if (name == lower_case_name) return value;
  }
  return "";
}

std::vector<Json> HttpAnswer::Events(bool with_done) const {
  std::vector<Json> events;
  size_t at = 0;
  bool is_done = false;
  while (at < body.size()) {
    const size_t end = body.find("\n\n", at);
    if (end == std::string::npos) {
      ADD_FAILURE() << "an event without its end: " << body.substr(at);
      break;
    }
    const std::string event = body.substr(at, end - at);
    at = end + 2;
    EXPECT_FALSE(is_done) << "an event after [DONE]";
    EXPECT_EQ(event.substr(0, 6), "data: ");
    if (event == "data: [DONE]") is_done = true;
    else events.push_back(Json::parse(event.substr(6)));
  }
  EXPECT_EQ(is_done, with_done);
  return events;
}

HttpClient::HttpClient(int port) : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) throw std::runtime_error("cannot connect");
}

HttpClient::~HttpClient() { Close(); }

void HttpClient::Close() {
  if (socket_ >= 0) close(std::exchange(socket_, -1));
}

void HttpClient::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
}

void HttpClient::SendRequest(const std::string& method, const std::string& path, const std::string& body, const std::string& headers) {
  Send(fmt::format("{} {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{}\r\n{}", method, path, body.size(), headers, body));
}

bool HttpClient::More() {
  pollfd ready{socket_, POLLIN, 0};
  if (poll(&ready, 1, 60000) <= 0) throw std::runtime_error("no answer within a minute");
  char bytes[65536];
  const ssize_t got = recv(socket_, bytes, sizeof(bytes), 0);
  if (got > 0) pending_.append(bytes, static_cast<size_t>(got));
  return got > 0;
}

bool HttpClient::ReadUntil(std::string_view text) {
  while (pending_.find(text) == std::string::npos) {
    if (!More()) return false;
  }
  return true;
}

bool HttpClient::IsClosed() {
  pollfd ready{socket_, POLLIN, 0};
  char byte = 0;
  return poll(&ready, 1, 10000) > 0 && recv(socket_, &byte, 1, MSG_PEEK) <= 0;
}

std::optional<HttpAnswer> HttpClient::Read() {
  HttpAnswer answer;
  if (!ReadUntil("\r\n\r\n")) return std::nullopt;
  const size_t head_end = pending_.find("\r\n\r\n");
  std::string head = pending_.substr(0, head_end + 2);
  pending_.erase(0, head_end + 4);
  answer.status = std::stoi(head.substr(9, 3));
  if (answer.status == 100) return Read();  // of Expect: 100-continue
  for (size_t at = head.find("\r\n") + 2; at < head.size();) {
    const size_t end = head.find("\r\n", at), colon = head.find(": ", at);
    std::string name = head.substr(at, colon - at);
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    answer.headers.emplace_back(name, head.substr(colon + 2, end - colon - 2));
    at = end + 2;
  }
  if (answer.Header("transfer-encoding") == "chunked") {
    while (true) {
      if (!ReadUntil("\r\n")) return std::nullopt;
      const size_t line = pending_.find("\r\n");
      const size_t size = std::stoul(pending_.substr(0, line), nullptr, 16);
      while (pending_.size() < line + 2 + size + 2) {
        if (!More()) return std::nullopt;
      }
      answer.body += pending_.substr(line + 2, size);
      pending_.erase(0, line + 2 + size + 2);
      if (size == 0) return answer;
    }
  }
  const std::string length = answer.Header("content-length");
  if (length.empty()) {
    while (More()) {
    }
    answer.body = std::exchange(pending_, {});
    return answer;
  }
  const size_t size = std::stoul(length);
  while (pending_.size() < size) {
    if (!More()) return std::nullopt;
  }
  answer.body = pending_.substr(0, size);
  pending_.erase(0, size);
  return answer;
}

HttpAnswer HttpClient::Get(const std::string& path, const std::string& headers) {
  SendRequest("GET", path, "", headers);
  const auto answer = Read();
  if (!answer) throw std::runtime_error("the connection was closed before the answer");
  return *answer;
}

HttpAnswer HttpClient::Post(const std::string& path, const Json& body, const std::string& headers) {
  SendRequest("POST", path, body.is_string() ? body.get<std::string>() : body.dump(), headers);
  const auto answer = Read();
  if (!answer) throw std::runtime_error("the connection was closed before the answer");
  return *answer;
}

}  // namespace fathom
