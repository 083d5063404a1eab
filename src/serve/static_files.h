// The page at `/` and the API's description, from the program itself.
#pragma once

#include <string_view>

#include "serve/http_server.h"

namespace fathom {

struct StaticFile {
  std::string_view bytes, content_type;
};

// What is at `path`: /, /page/NAME, /openapi.json. Empty bytes: nothing is.
StaticFile FindStaticFile(std::string_view path);

// What a browser shall keep to on the page: nothing from elsewhere, not inside other pages, asked for anew each time.
HttpHeaders StaticFileHeaders();

}  // namespace fathom
