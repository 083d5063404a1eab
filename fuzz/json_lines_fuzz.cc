// A line of JSON to a document's text (data/record_reader.h).
#include <cstdint>
#include <string>

#include "base/utf8.h"
#include "data/record_reader.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  fathom::Record record;
  record.is_json = (data[0] & 1) != 0;
  record.bytes.assign(reinterpret_cast<const char*>(data) + 1, size - 1);
  std::string problem;
  const auto text = fathom::TextOf(record, "text", problem);
  if (text ? !fathom::IsValidUtf8(*text) : problem.empty()) __builtin_trap();
  return 0;
}
