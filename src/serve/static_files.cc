#include "serve/static_files.h"

#include "serve/embedded_file.h"

namespace fathom {
namespace {

std::string_view ContentType(std::string_view name) {
  const std::string_view ending = name.substr(name.rfind('.') + 1);
  if (ending == "html") return "text/html; charset=utf-8";
  if (ending == "css") return "text/css; charset=utf-8";
  if (ending == "js") return "text/javascript; charset=utf-8";
  return "application/json";
}

}  // namespace

StaticFile FindStaticFile(std::string_view path) {
  constexpr std::string_view kFolder = "/page/";
  std::string_view name;
  if (path == "/") name = "index.html";
  else if (path == "/openapi.json") name = "openapi.json";
  else if (path.substr(0, kFolder.size()) == kFolder) name = path.substr(kFolder.size());
  for (const EmbeddedFile& file : ServedFiles()) {
    if (file.name == name) return {file.bytes, ContentType(name)};
  }
  return {};
}

HttpHeaders StaticFileHeaders() {
  return {{"Content-Security-Policy", "default-src 'self'; img-src 'self' data:; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
          {"X-Content-Type-Options", "nosniff"},
          {"Referrer-Policy", "no-referrer"},
          {"Cache-Control", "no-cache"}};
}

}  // namespace fathom
