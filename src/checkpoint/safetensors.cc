#include "checkpoint/safetensors.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/dtype_names.h"

namespace fathom {
namespace {

// A name or value as an error line repeats it: at most 200 bytes of it, on one line.
std::string Shorten(const std::string& text) {
  std::string shown = text.size() <= 200 ? text : text.substr(0, 200) + "...";
  for (char& c : shown)
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  return shown;
}

// Parses the header, refusing what nlohmann would let pass: a key that comes twice (it would keep the last) and deep nesting.
Json ParseHeaderJson(std::string_view text, const std::string& what) {
  std::vector<std::set<std::string>> keys;
  const auto check = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start)
      FATHOM_USER_CHECK(depth < 8, "{}: header nested deeper than a safetensors header is", what);
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      FATHOM_USER_CHECK(keys.back().insert(key).second, "{}: {} stands twice in the header", what, Shorten(key));
    }
    return true;
  };
  try {
    return Json::parse(text, check);
  } catch (const nlohmann::json::exception& e) {
    std::string cause = e.what();
    if (const auto end = cause.find("] "); end != std::string::npos) cause = cause.substr(end + 2);
    ThrowUserError("{}: header is not valid JSON: {}", what, Shorten(cause));
  }
}

uint64_t GetUnsigned(const Json& value, const std::string& what, const std::string& name, const char* key) {
  FATHOM_USER_CHECK(value.is_number_unsigned() && value.get<uint64_t>() <= uint64_t{INT64_MAX},
                    "{}: tensor {}: {} must hold integers from 0 to 2^63 - 1, not {}", what, name, key, Shorten(value.dump()));
  return value.get<uint64_t>();
}

struct Placed {
  TensorEntry entry;
  uint64_t begin = 0, end = 0;  // in the data section
};

Placed ParseEntry(const std::string& name, const Json& info, uint64_t data_size, const std::string& what) {
  FATHOM_USER_CHECK(info.is_object(), "{}: tensor {}: its entry must be an object, not {}", what, name, Shorten(info.dump()));
  for (const auto& [key, value] : info.items())
    FATHOM_USER_CHECK(key == "dtype" || key == "shape" || key == "data_offsets", "{}: tensor {}: key {} is not known", what, name, Shorten(key));
  for (const char* key : {"dtype", "shape", "data_offsets"})
    FATHOM_USER_CHECK(info.contains(key), "{}: tensor {}: {} is missing", what, name, key);
  Placed placed;
  placed.entry.name = name;
  const Json& dtype = info.at("dtype");
  FATHOM_USER_CHECK(dtype.is_string(), "{}: tensor {}: dtype must be a string, not {}", what, name, Shorten(dtype.dump()));
  const auto scalar_type = ScalarTypeFromSafetensors(dtype.get_ref<const std::string&>());
  FATHOM_USER_CHECK(scalar_type.has_value(), "{}: tensor {}: dtype {} is not read", what, name, Shorten(dtype.dump()));
  placed.entry.dtype = *scalar_type;

  const Json& shape = info.at("shape");
  FATHOM_USER_CHECK(shape.is_array() && shape.size() <= 64, "{}: tensor {}: shape must be a list of at most 64 sizes, not {}", what, name,
                    Shorten(shape.dump()));
  uint64_t nonzero_bytes = c10::elementSize(*scalar_type);
  bool is_empty = false;
  for (const Json& size_json : shape) {
    const uint64_t size = GetUnsigned(size_json, what, name, "shape");
    placed.entry.shape.push_back(static_cast<int64_t>(size));
    if (size == 0) is_empty = true;
    else
      FATHOM_USER_CHECK(!__builtin_mul_overflow(nonzero_bytes, size, &nonzero_bytes) && nonzero_bytes <= uint64_t{INT64_MAX},
                        "{}: tensor {}: shape {} overflows 2^63 bytes", what, name, Shorten(shape.dump()));
  }
  const uint64_t num_bytes = is_empty ? 0 : nonzero_bytes;

  const Json& offsets = info.at("data_offsets");
  FATHOM_USER_CHECK(offsets.is_array() && offsets.size() == 2, "{}: tensor {}: data_offsets must be [begin, end], not {}", what, name,
                    Shorten(offsets.dump()));
  placed.begin = GetUnsigned(offsets[0], what, name, "data_offsets");
  placed.end = GetUnsigned(offsets[1], what, name, "data_offsets");
  FATHOM_USER_CHECK(placed.begin <= placed.end, "{}: tensor {}: data_offsets [{}, {}] end before they begin", what, name, placed.begin, placed.end);
  FATHOM_USER_CHECK(placed.end <= data_size, "{}: tensor {}: data_offsets [{}, {}] reach beyond the {} bytes of data in the file (is it cut short?)",
                    what, name, placed.begin, placed.end, data_size);
  FATHOM_USER_CHECK(placed.end - placed.begin == num_bytes, "{}: tensor {}: data_offsets [{}, {}] hold {} bytes, but shape {} of {} needs {}", what,
                    name, placed.begin, placed.end, placed.end - placed.begin, Shorten(shape.dump()), dtype.get<std::string>(), num_bytes);
  return placed;
}

void CheckMetadata(const Json& metadata, const std::string& what) {
  FATHOM_USER_CHECK(metadata.is_object(), "{}: __metadata__ must be an object of strings", what);
  for (const auto& [key, value] : metadata.items())
    FATHOM_USER_CHECK(value.is_string(), "{}: __metadata__ key {} must be a string, not {}", what, Shorten(key), Shorten(value.dump()));
}

}  // namespace

std::vector<TensorEntry> ParseSafetensors(std::span<const std::byte> file, const std::string& what) {
  FATHOM_USER_CHECK(file.size() >= 8, "{}: not a safetensors file: {} bytes, at least 8 are needed", what, file.size());
  uint64_t header_size = 0;
  for (int i = 0; i < 8; ++i) header_size |= std::to_integer<uint64_t>(file[i]) << (8 * i);
  FATHOM_USER_CHECK(header_size <= kMaxSafetensorsHeader, "{}: header length {} is above the limit of {} bytes (not a safetensors file?)", what, header_size,
                    kMaxSafetensorsHeader);
  FATHOM_USER_CHECK(header_size <= file.size() - 8, "{}: header length {} reaches beyond the file of {} bytes (is it cut short?)", what, header_size,
                    file.size());
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + 8, header_size);
  FATHOM_USER_CHECK(text.starts_with('{'), "{}: header must begin with '{{'", what);
  const Json header = ParseHeaderJson(text, what);
  const std::span<const std::byte> data = file.subspan(8 + header_size);

  std::vector<Placed> placed;
  placed.reserve(header.size());
  for (const auto& [name, info] : header.items()) {
    if (name == "__metadata__") CheckMetadata(info, what);
    else placed.push_back(ParseEntry(Shorten(name), info, data.size(), what));
    if (name != "__metadata__") placed.back().entry.name = name;
  }
  std::sort(placed.begin(), placed.end(), [](const Placed& a, const Placed& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  uint64_t reached = 0;
  const TensorEntry* last = nullptr;
  std::vector<TensorEntry> entries;
  entries.reserve(placed.size());
  for (Placed& one : placed) {
    FATHOM_USER_CHECK(one.begin >= reached, "{}: tensor {}: data_offsets [{}, {}] overlap those of {}, which end at {}", what, Shorten(one.entry.name), one.begin,
                      one.end, last == nullptr ? "" : Shorten(last->name), reached);
    FATHOM_USER_CHECK(one.begin == reached, "{}: tensor {}: a hole of {} bytes before data_offsets [{}, {}]", what, Shorten(one.entry.name), one.begin - reached,
                      one.begin, one.end);
    one.entry.bytes = data.subspan(one.begin, one.end - one.begin);
    reached = one.end;
    entries.push_back(std::move(one.entry));
    last = &entries.back();
  }
  FATHOM_USER_CHECK(reached == data.size(), "{}: {} bytes after the last tensor belong to none", what, data.size() - reached);
  return entries;
}

std::unique_ptr<TensorFiles> OpenSafetensors(const std::vector<std::filesystem::path>& shards) {
  std::vector<MappedFile> files;
  std::vector<TensorEntry> entries;
  for (const auto& path : shards) {
    files.emplace_back(path);
    for (TensorEntry& entry : ParseSafetensors(files.back().bytes(), path.string())) {
      entry.file_idx = files.size() - 1;
      entries.push_back(std::move(entry));
    }
  }
  return std::make_unique<TensorFiles>(std::move(files), std::move(entries));
}

ShardIndex ParseShardIndex(const Json& json, const std::string& what) {
  FATHOM_USER_CHECK(json.is_object() && json.contains("weight_map") && json.at("weight_map").is_object(), "{}: weight_map must be an object of tensor names", what);
  ShardIndex index;
  for (const auto& [name, file_json] : json.at("weight_map").items()) {
    FATHOM_USER_CHECK(file_json.is_string(), "{}: tensor {}: its file must be a string, not {}", what, Shorten(name), Shorten(file_json.dump()));
    const auto& file = file_json.get_ref<const std::string&>();
    FATHOM_USER_CHECK(!file.empty() && file.find('/') == std::string::npos && file.find('\0') == std::string::npos && file != "." && file != "..",
                      "{}: tensor {}: its file must be a plain file name in this folder, not {}", what, Shorten(name), Shorten(file_json.dump()));
    index.emplace(name, file);
  }
  FATHOM_USER_CHECK(!index.empty(), "{}: weight_map is empty", what);
  return index;
}

void CheckShardIndex(const ShardIndex& index, const TensorFiles& files, const std::string& what) {
  for (const auto& [name, file] : index) {
    const TensorEntry* entry = files.Find(name);
    FATHOM_USER_CHECK(entry != nullptr, "{}: tensor {} should be in {}, which does not hold it", what, Shorten(name), file);
    const std::string actual = files.path(*entry).filename().string();
    FATHOM_USER_CHECK(actual == file, "{}: tensor {} should be in {}, but is in {}", what, Shorten(name), file, actual);
  }
  for (const TensorEntry& entry : files.entries())
    FATHOM_USER_CHECK(index.contains(entry.name), "{}: tensor {} of {} is not in weight_map", what, Shorten(entry.name), files.path(entry).filename().string());
}

}  // namespace fathom
