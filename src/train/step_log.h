// DIR/log.jsonl: one object a step, floats that read back as the same bits.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>

#include "base/json.h"

namespace fathom {

struct StepReport;

class StepLog {
 public:
  // Keeps the lines of steps up to `last_step` and drops what is behind them (steps that are done again, half a line). Throws MachineError.
  StepLog(const std::filesystem::path& path, int64_t last_step);
  // Appends a step's line and hands it to the system. Throws MachineError.
  void Write(const StepReport& report);

 private:
  std::filesystem::path path_;
  std::ofstream file_;
};

OrderedJson ToJson(const StepReport& report);

}  // namespace fathom
