// libfathom_parquet.so: the texts of a Parquet file's column, a row at a time, through Arrow (data/parquet_plugin.h).
#include <arrow/api.h>
#include <arrow/io/file.h>
#include <parquet/arrow/reader.h>

#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/parquet_plugin.h"

namespace {

constexpr int64_t kRowsOfBatch = 1024;

void Explain(const std::string& why, char* error, size_t size) {
  std::snprintf(error, size, "%s", why.c_str());
  for (char* c = error; *c != '\0'; ++c)
    if (static_cast<unsigned char>(*c) < 0x20) *c = ' ';
}

// Texts of one array, whichever of Arrow's layouts it has.
struct Column {
  std::shared_ptr<arrow::Array> values, dictionary_values;
  const arrow::DictionaryArray* dictionary = nullptr;

  static std::string_view View(const arrow::Array& array, int64_t row) {
    if (array.type_id() == arrow::Type::LARGE_STRING || array.type_id() == arrow::Type::LARGE_BINARY)
      return static_cast<const arrow::LargeBinaryArray&>(array).GetView(row);
    return static_cast<const arrow::BinaryArray&>(array).GetView(row);
  }
  // False for a null.
  bool Get(int64_t row, std::string_view& text) const {
    if (values->IsNull(row)) return false;
    if (dictionary == nullptr) return text = View(*values, row), true;
    const int64_t index = dictionary->GetValueIndex(row);
    if (dictionary_values->IsNull(index)) return false;
    return text = View(*dictionary_values, index), true;
  }
};

bool IsText(const arrow::DataType& type) {
  if (type.id() == arrow::Type::DICTIONARY) return IsText(*static_cast<const arrow::DictionaryType&>(type).value_type());
  return type.id() == arrow::Type::STRING || type.id() == arrow::Type::BINARY || type.id() == arrow::Type::LARGE_STRING || type.id() == arrow::Type::LARGE_BINARY;
}

class Reader {
 public:
  arrow::Status Open(const std::string& path, const std::string& column) {
    ARROW_ASSIGN_OR_RAISE(auto file, arrow::io::ReadableFile::Open(path));
    ARROW_ASSIGN_OR_RAISE(file_, parquet::arrow::OpenFile(file, arrow::default_memory_pool()));
    file_->set_batch_size(kRowsOfBatch);
    std::shared_ptr<arrow::Schema> schema;
    ARROW_RETURN_NOT_OK(file_->GetSchema(&schema));
    const int field = schema->GetFieldIndex(column);
    if (field < 0) return arrow::Status::Invalid("has no column '", column, "'; its columns are ", Names(*schema));
    if (!IsText(*schema->field(field)->type())) return arrow::Status::Invalid("the column '", column, "' must hold texts, it holds ", schema->field(field)->type()->ToString());
    const int leaf = file_->parquet_reader()->metadata()->schema()->ColumnIndex(column);
    if (leaf < 0) return arrow::Status::Invalid("the column '", column, "' is nested");
    std::vector<int> groups;
    for (int i = 0; i < file_->num_row_groups(); ++i) groups.push_back(i);
    ARROW_ASSIGN_OR_RAISE(batches_, file_->GetRecordBatchReader(groups, {leaf}));
    return arrow::Status::OK();
  }

  // 1: a row, 0: the end.
  arrow::Result<int> Next(const char** text, size_t* size) {
    while (column_.values == nullptr || row_ == column_.values->length()) {
      std::shared_ptr<arrow::RecordBatch> batch;
      ARROW_RETURN_NOT_OK(batches_->ReadNext(&batch));
      if (batch == nullptr) return 0;
      column_ = {.values = batch->column(0)};
      if (column_.values->type_id() == arrow::Type::DICTIONARY) {
        column_.dictionary = static_cast<const arrow::DictionaryArray*>(column_.values.get());
        column_.dictionary_values = column_.dictionary->dictionary();
      }
      row_ = 0;
    }
    std::string_view view;
    const bool there = column_.Get(row_++, view);
    *text = there ? (view.empty() ? "" : view.data()) : nullptr;
    *size = view.size();
    return 1;
  }

 private:
  static std::string Names(const arrow::Schema& schema) {
    std::string names;
    for (const std::string& name : schema.field_names()) names += (names.empty() ? "" : ", ") + name;
    return names;
  }

  std::unique_ptr<parquet::arrow::FileReader> file_;
  std::unique_ptr<arrow::RecordBatchReader> batches_;
  Column column_;
  int64_t row_ = 0;
};

void* OpenReader(const char* path, const char* column, char* error, size_t error_size) {
  try {
    auto reader = std::make_unique<Reader>();
    const arrow::Status status = reader->Open(path, column);
    if (status.ok()) return reader.release();
    Explain(status.message(), error, error_size);
  } catch (const std::exception& e) {
    Explain(e.what(), error, error_size);
  }
  return nullptr;
}

int NextRow(void* reader, const char** text, size_t* size, char* error, size_t error_size) {
  try {
    const arrow::Result<int> result = static_cast<Reader*>(reader)->Next(text, size);
    if (result.ok()) return *result;
    Explain(result.status().message(), error, error_size);
  } catch (const std::exception& e) {
    Explain(e.what(), error, error_size);
  }
  return -1;
}

void CloseReader(void* reader) { delete static_cast<Reader*>(reader); }

}  // namespace

extern "C" __attribute__((visibility("default"))) const FathomParquetTable* fathom_parquet_table() {
  static const FathomParquetTable kTable = {kParquetInterfaceVersion, sizeof(FathomParquetTable), OpenReader, NextRow, CloseReader};
  return &kTable;
}
