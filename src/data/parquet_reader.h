// Rows of Parquet files, through Arrow in libfathom_parquet.so: a file beside the program (FATHOM_PARQUET_LIB names another), built where the Python
// environment of the set-up has pyarrow, and loaded when the first Parquet file is opened. Nobody else pays for Arrow.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

namespace fathom {

class RecordReader;

// Throws UserError saying what to install where the library is not there or cannot be loaded; `path` is the file that asks for it.
void CheckParquetLibrary(const std::filesystem::path& path);
// A record a row: the text of `column` (string, large_string or binary, dictionaries of them too). A null is a record with a problem.
std::unique_ptr<RecordReader> OpenParquetRecords(const std::filesystem::path& path, const std::string& column);

}  // namespace fathom
