// corpus.json (data/corpus.h): what is accepted is written and read back as it was.
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "data/corpus.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const fathom::CorpusIndex index = fathom::ParseCorpusIndex(text, "fuzz");
    for (const fathom::ShardEntry& shard : index.shards)
      if (shard.file.empty() || shard.file.find('/') != std::string::npos) __builtin_trap();
    const std::string dumped = fathom::DumpCorpusIndex(index);
    if (fathom::DumpCorpusIndex(fathom::ParseCorpusIndex(dumped, "again")) != dumped) __builtin_trap();
  } catch (const fathom::UserError&) {
  }
  return 0;
}
