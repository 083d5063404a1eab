// How much memory this process may still take.
#pragma once

#include <cstdint>
#include <string_view>

namespace fathom {

// The least of what the machine has available (MemAvailable), what the process's control groups leave and what its address-space limit leaves, in bytes.
// Pages of files that can be dropped count as free.
int64_t FreeMemoryBytes();

// The number behind `key` in lines "Key:   123 kB" or "key 123"; -1 when it is not there. Units are not applied.
int64_t ParseCounter(std::string_view text, std::string_view key);

}  // namespace fathom
