// A plain HTTP/1.1 client on a blocking socket: one connection, requests one after another.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"

namespace fathom {

struct HttpAnswer {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::string body;                                          // chunks joined
  std::string Header(const std::string& lower_case_name) const;
  Json json() const { return Json::parse(body); }
  // The objects of a stream of server-sent events; [DONE] is left out and must be the last where `with_done`.
  std::vector<Json> Events(bool with_done = true) const;
};

class HttpClient {
 public:
  explicit HttpClient(int port);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  void Send(std::string_view bytes);
  void SendRequest(const std::string& method, const std::string& path, const std::string& body, const std::string& headers = "");
  // The next answer; nullopt where the connection is closed before it is whole.
  std::optional<HttpAnswer> Read();
  // Reads until `text` has come; false where the connection ends before.
  bool ReadUntil(std::string_view text);
  // Whether the server closes the connection within ten seconds.
  bool IsClosed();
  void Close();

  HttpAnswer Get(const std::string& path, const std::string& headers = "");
  HttpAnswer Post(const std::string& path, const Json& body, const std::string& headers = "");

 private:
  bool More();
  int socket_ = -1;
  std::string pending_;
};

}  // namespace fathom
