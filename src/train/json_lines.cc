#include "train/json_lines.h"

#include <string>
#include <utility>

#include "base/error.h"

namespace fathom {

JsonLines::JsonLines(std::filesystem::path path, int64_t last_step) : path_(std::move(path)) {
  std::error_code error;
  if (!std::filesystem::exists(path_, error)) return;
  uintmax_t kept = 0;
  {
    std::ifstream old(path_);
    for (std::string line; last_step > 0 && std::getline(old, line);) {
      const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (!json.is_object() || old.eof() || json.value("step", last_step + 1) > last_step) break;
      kept += line.size() + 1;
    }
  }
  std::filesystem::resize_file(path_, kept, error);
  if (error) ThrowMachineError("cannot write {}: {}", path_.string(), error.message());
}

void JsonLines::Write(const OrderedJson& json) {
  if (!file_.is_open()) file_.open(path_, std::ios::app);
  file_ << json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) << "\n" << std::flush;
  if (!file_) ThrowMachineError("cannot write {}: is the disk full?", path_.string());
}

std::vector<Json> ReadJsonLines(const std::filesystem::path& path) {
  std::vector<Json> objects;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) break;
    objects.push_back(std::move(json));
  }
  return objects;
}

}  // namespace fathom
