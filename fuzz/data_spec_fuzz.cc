// The `data:` section of a recipe, and YAML before it (base/yaml.h, data/spec.h).
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "base/yaml.h"
#include "data/spec.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const fathom::Yaml root = fathom::Yaml::Parse({reinterpret_cast<const char*>(data), size}, "fuzz");
    if (const auto section = root.Find("data")) {
      const fathom::DataSpec spec = fathom::ParseDataSpec(*section);
      double sum = 0;
      for (const auto& [domain, share] : spec.mixture) sum += share;
      if (!spec.mixture.empty() && (sum < 0.999 || sum > 1.001)) __builtin_trap();
    }
  } catch (const fathom::UserError&) {
  }
  return 0;
}
