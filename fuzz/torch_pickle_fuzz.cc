// The pickle machine alone.
#include <cstdint>
#include <span>

#include "base/error.h"
#include "checkpoint/torch_pickle.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    fathom::ReadTensorPickle(std::as_bytes(std::span(data, size)), "fuzz");
  } catch (const fathom::UserError&) {
  }
  return 0;
}
