// Shards of tokens (data/shard.h). The checksums of an input are set right first, or no input would come behind them.
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "data/shard.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<uint64_t> aligned(size / 8 + 1);
  if (size > 0) std::memcpy(aligned.data(), data, size);
  char* bytes = reinterpret_cast<char*>(aligned.data());
  if (size >= 64 && (data[0] & 1) == 0) {  // 'F' of the magic is even
    const uint64_t body = fathom::HashBytes({bytes + 64, size - 64});
    std::memcpy(bytes + 48, &body, 8);
    const uint64_t header = fathom::HashBytes({bytes, 56});
    std::memcpy(bytes + 56, &header, 8);
  }
  try {
    const fathom::ShardView view = fathom::ParseShard({reinterpret_cast<const std::byte*>(bytes), size}, "fuzz");
    std::vector<int32_t> tokens;
    for (size_t i = 0; i < view.documents.size(); ++i) view.Append(view.Begin(static_cast<int64_t>(i)), view.documents[i].end, tokens);
    if (tokens.size() != view.num_tokens) __builtin_trap();
    for (const int32_t token : tokens)
      if (token < 0 || static_cast<uint32_t>(token) >= view.vocab_size) __builtin_trap();
  } catch (const fathom::UserError&) {
  }
  return 0;
}
