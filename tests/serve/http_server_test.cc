#include "serve/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "serve/http_client.h"
#include "serve/request_ids.h"

namespace fathom {
namespace {

using ::testing::HasSubstr;

HttpOptions AnyPort(HttpOptions options = {}) {
  options.port = 0;
  return options;
}

void Echo(const HttpRequest& request, const Responder& responder) { responder.Send(200, "text/plain", request.method + " " + request.path + " " + request.body); }

TEST(HttpServer, AnswersRequestsOneAfterAnotherOnOneConnection) {
  HttpServer server(AnyPort(), Echo);
  HttpClient client(server.port());
  EXPECT_EQ(client.Get("/a?b=c").body, "GET /a ");
  client.SendRequest("POST", "/b", "x");
  client.SendRequest("POST", "/c", "y");
  EXPECT_EQ(client.Read()->body, "POST /b x");
  EXPECT_EQ(client.Read()->body, "POST /c y");
}

TEST(HttpServer, TakesABodyAfterItsContinue) {
  HttpServer server(AnyPort(), Echo);
  HttpClient client(server.port());
  client.Send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
  ASSERT_TRUE(client.ReadUntil("100 Continue\r\n\r\n"));
  client.Send("abc");
  EXPECT_EQ(client.Read()->body, "POST /a abc");
}

TEST(HttpServer, RefusesWhatIsTooLargeOrNoRequest) {
  HttpOptions options;
  options.most_body_bytes = 1000;
  options.most_header_bytes = 2000;
  HttpServer server(AnyPort(options), Echo);
  const auto status_of = [&](const std::string& bytes) {
    HttpClient client(server.port());
    client.Send(bytes);
    const auto answer = client.Read();
    EXPECT_TRUE(client.IsClosed());
    return answer ? answer->status : 0;
  };
  EXPECT_EQ(status_of("POST / HTTP/1.1\r\nContent-Length: 1001\r\n\r\n"), 413);
  EXPECT_EQ(status_of("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" + std::string(2000, 'x') + "\r\n0\r\n\r\n"), 413);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nA: " + std::string(3000, 'x') + "\r\n\r\n"), 431);
  EXPECT_EQ(status_of("hello\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/3.7\r\n\r\n"), 400);
}

TEST(HttpServer, TellsWhenAClientLeavesWhileItsAnswerIsUnderWay) {
  std::promise<void> gone;
  HttpServer server(AnyPort(), [&](const HttpRequest&, const Responder& responder) {
    responder.OnGone([&] { gone.set_value(); });
    responder.Begin(200, "text/plain");
    responder.Write("first");
  });
  HttpClient client(server.port());
  client.SendRequest("GET", "/", "");
  ASSERT_TRUE(client.ReadUntil("first"));
  client.Close();
  EXPECT_EQ(gone.get_future().wait_for(std::chrono::seconds(20)), std::future_status::ready);
}

TEST(HttpServer, AClientThatDoesNotReadIsCutOffAndHarmsNobody) {
  HttpOptions options;
  options.write_limit = std::chrono::seconds(1);
  std::promise<void> gone;
  HttpServer server(AnyPort(options), [&](const HttpRequest& request, const Responder& responder) {
    if (request.path != "/much") return Echo(request, responder);
    responder.OnGone([&] { gone.set_value(); });
    responder.Begin(200, "text/plain");
    responder.Write(std::string(30 << 20, 'x'));
  });
  HttpClient lazy(server.port()), other(server.port());
  lazy.SendRequest("GET", "/much", "");
  EXPECT_EQ(other.Get("/a").body, "GET /a ");
  EXPECT_EQ(gone.get_future().wait_for(std::chrono::seconds(30)), std::future_status::ready);
  EXPECT_EQ(other.Get("/b").body, "GET /b ");
}

TEST(HttpServer, AClientThatSendsAByteAtATimeHarmsNobody) {
  HttpServer server(AnyPort(), Echo);
  HttpClient slow(server.port()), other(server.port());
  for (const char c : std::string("POST /s HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")) {
    slow.Send(std::string(1, c));
    EXPECT_EQ(other.Get("/o").body, "GET /o ");
  }
  EXPECT_EQ(slow.Read().value().body, "POST /s abc");
}

TEST(HttpServer, KeepsRequestIdsAndTracesOfItsClients) {
  std::mutex mutex;
  std::vector<ExchangeRecord> records;
  HttpOptions options;
  options.on_exchange = [&](const ExchangeRecord& record) {
    const std::lock_guard lock(mutex);
    records.push_back(record);
  };
  {
    HttpServer server(AnyPort(options), Echo);
    HttpClient client(server.port());
    const std::string trace = "0af7651916cd43dd8448eb211c80319c";
    const auto answer = client.Get("/a", "X-Request-Id: mine-1\r\nTraceparent: 00-" + trace + "-b7ad6b7169203331-01\r\n");
    EXPECT_EQ(answer.Header("x-request-id"), "mine-1");
    EXPECT_THAT(answer.Header("traceparent"), HasSubstr(trace));
    EXPECT_EQ(client.Get("/b", "X-Request-Id: a b\"\r\nTraceparent: nonsense\r\n").Header("x-request-id").size(), 32u);
  }
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].request_id, "mine-1");
  EXPECT_EQ(records[0].status, 200);
  EXPECT_EQ(records[1].trace_id, "");
}

TEST(HttpServer, HoldsAThousandIdleConnections) {
  HttpServer server(AnyPort(), Echo);
  std::vector<std::unique_ptr<HttpClient>> clients;
  for (int i = 0; i < 400; ++i) clients.push_back(std::make_unique<HttpClient>(server.port()));  // both ends are files of this process
  EXPECT_EQ(clients.back()->Get("/a").body, "GET /a ");
  EXPECT_EQ(clients.front()->Get("/a").body, "GET /a ");
  EXPECT_EQ(server.num_connections(), 400);
}

TEST(HttpServer, DrainingFinishesWhatIsUnderWayAndClosesTheRest) {
  std::promise<Responder> started;
  HttpServer server(AnyPort(), [&](const HttpRequest& request, const Responder& responder) {
    if (request.path == "/slow") started.set_value(responder);
    else Echo(request, responder);
  });
  HttpClient idle(server.port()), busy(server.port());
  idle.Get("/a");
  busy.SendRequest("GET", "/slow", "");
  const Responder responder = started.get_future().get();
  server.Drain();
  EXPECT_TRUE(idle.IsClosed());
  EXPECT_EQ(server.num_open_exchanges(), 1);
  responder.Send(200, "text/plain", "done");
  const auto answer = busy.Read();
  EXPECT_EQ(answer->body, "done");
  EXPECT_EQ(answer->Header("connection"), "close");
  EXPECT_TRUE(busy.IsClosed());
  EXPECT_THROW(HttpClient late(server.port()), std::exception);
}

TEST(HttpServer, APortThatIsTakenIsAUserError) {
  HttpServer server(AnyPort(), Echo);
  HttpOptions options;
  options.port = server.port();
  EXPECT_THROW(HttpServer(options, Echo), UserError);
  options.host = "no such address";
  EXPECT_THROW(HttpServer(options, Echo), UserError);
}

TEST(HttpServer, AnOldClientGetsAStreamToItsEnd) {
  HttpServer server(AnyPort(), [](const HttpRequest&, const Responder& responder) {
    responder.Begin(200, "text/plain");
    responder.Write("one ");
    responder.Write("two");
    responder.End();
  });
  HttpClient client(server.port());
  client.Send("GET / HTTP/1.0\r\n\r\n");
  EXPECT_EQ(client.Read()->body, "one two");
}

}  // namespace
}  // namespace fathom
