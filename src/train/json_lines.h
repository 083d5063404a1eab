// Files of a run that hold a JSON object a line, each with its step: log.jsonl and those beside it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <vector>

#include "base/json.h"

namespace fathom {

class JsonLines {
 public:
  // Keeps the lines of steps up to `last_step` and drops what is behind them (steps that are done again, half a line). The file is made with its first line.
  // Throws MachineError.
  JsonLines(std::filesystem::path path, int64_t last_step);
  // Appends a line and hands it to the system. Throws MachineError. Floats read back as the same bits.
  void Write(const OrderedJson& json);

 private:
  std::filesystem::path path_;
  std::ofstream file_;
};

// The objects of a file, to the first line that is none; nothing where there is no file.
std::vector<Json> ReadJsonLines(const std::filesystem::path& path);

}  // namespace fathom
