// POST /v1/embeddings (OpenAI): texts to vectors. A text's vector is the mean of the model's hidden rows after the final norm (or, with
// "pooling": "last", the last row), at unit length.
#pragma once

#include <string>

#include "base/json.h"
#include "serve/http_server.h"
#include "serve/served_model.h"

namespace fathom {

// Reads {"input": text | [text] | [id] | [[id]], "model", "encoding_format": "float" | "base64", "dimensions", "pooling": "mean" | "last", "user"} and answers when
// the engine has run every input, one between two of its steps. Throws ApiError for what is wrong in the body and 429 when too much waits.
void AnswerEmbeddings(const OrderedJson& body, const ServedModel& model, const HttpHeaders& headers, const Responder& responder);

// Standard base64 (RFC 4648) of the bytes.
std::string Base64(std::string_view bytes);

}  // namespace fathom
