// Any bytes as a GGUF header: parsed or refused with a UserError, with memory bound by the input's size.
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.h"
#include "base/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const fathom::GgufHeader header = fathom::ParseGgufHeader(std::as_bytes(std::span(data, size)), "input");
    if (header.Find("general.alignment") != nullptr) header.GetInt("general.alignment");
  } catch (const fathom::UserError&) {
  }
  return 0;
}
