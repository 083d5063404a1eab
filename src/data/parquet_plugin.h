// The C table between the program and libfathom_parquet.so, which alone links Arrow.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

inline constexpr int32_t kParquetInterfaceVersion = 1;

struct FathomParquetTable {
  int32_t version, size;
  // Opens a file to read a column of texts. nullptr: `error` has the reason.
  void* (*open)(const char* path, const char* column, char* error, size_t error_size);
  // The next row: 1 with its text (valid until the next call; nullptr for a null), 0 at the end, -1 with the reason in `error`.
  int (*next)(void* reader, const char** text, size_t* text_size, char* error, size_t error_size);
  void (*close)(void* reader);
};

const FathomParquetTable* fathom_parquet_table();
}
