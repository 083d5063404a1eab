// Any bytes as a config.json: understood or refused with a UserError. What was understood is written in the hub's spelling, and
// that is read back as the same configuration.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "model/config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fathom::SetLogLevel("off");
  fathom::Json written;
  try {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    written = fathom::ToHubJson(fathom::ParseModelConfig(fathom::ParseJson(text, "fuzz"), "fuzz"));
  } catch (const fathom::UserError&) {
    return 0;
  }
  if (fathom::ToHubJson(fathom::ParseModelConfig(written, "written")) != written) std::abort();
  return 0;
}
