#include "serve/static_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "serve/http_client.h"
#include "serve/served_fake.h"

namespace fathom {
namespace {

using ::testing::HasSubstr;

TEST(StaticFiles, ThePageAndAllThatItAsksForAreThere) {
  ServedFake fake({.service = {.api_keys = {"secret"}}});  // the page asks for the key itself
  HttpClient client(fake.port());
  const HttpAnswer page = client.Get("/");
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.Header("content-type"), "text/html; charset=utf-8");
  EXPECT_THAT(page.Header("content-security-policy"), HasSubstr("default-src 'self'"));
  int num_files = 0;
  std::vector<std::string> texts = {page.body};
  for (size_t i = 0; i < texts.size(); ++i) {
    for (size_t at = texts[i].find("\"/page/"); at != std::string::npos; at = texts[i].find("\"/page/", at + 1)) {
      const std::string path = texts[i].substr(at + 1, texts[i].find('"', at + 1) - at - 1);
      const HttpAnswer file = client.Get(path);
      EXPECT_EQ(file.status, 200) << path;
      EXPECT_EQ(file.Header("content-type"), path.substr(path.size() - 3) == ".js" ? "text/javascript; charset=utf-8" : "text/css; charset=utf-8");
      if (path == "/page/chat.js") texts.push_back(file.body);
      ++num_files;
    }
  }
  EXPECT_GE(num_files, 5);
  EXPECT_EQ(client.Get("/page/").status, 404);
  EXPECT_EQ(client.Get("/page/../service.cc").status, 404);
  EXPECT_EQ(client.Post("/", Json::object()).status, 404);
}

// Each path and method of the description is one of the service's, and the other way round.
TEST(StaticFiles, TheDescriptionNamesTheEndpointsThatThereAre) {
  ServedFake fake;
  HttpClient client(fake.port());
  const Json description = client.Get("/openapi.json").json();
  EXPECT_THAT(description["openapi"].get<std::string>(), HasSubstr("3.1"));
  std::vector<std::pair<std::string, std::string>> described;
  for (const auto& [path, methods] : description["paths"].items()) {
    if (path == "/v1/sessions/{id}") continue;  // sessions_test.cc
    for (const auto& [method, what] : methods.items()) {
      const std::string real = path == "/v1/models/{model}" ? "/v1/models/fake" : path;
      const int status = method == "get" ? client.Get(real).status : client.Post(real, Json::object()).status;
      EXPECT_TRUE(status != 404 && status != 405 && status < 500) << method << " " << path << ": " << status;
      if (real == path && path != "/openapi.json") described.emplace_back(method == "get" ? "GET" : "POST", path);
    }
  }
  EXPECT_THAT(Service::Endpoints(), ::testing::UnorderedElementsAreArray(described));
}

}  // namespace
}  // namespace fathom
