// TensorBoard's event files: curves that `tensorboard --logdir DIR` draws.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fathom {

// Of TFRecord: ((crc >> 15) | (crc << 17)) + 0xa282ead8 of crc32c (Castagnoli, RFC 3720, appendix B.4).
uint32_t MaskedCrc32c(std::string_view bytes);

// DIR/events.out.tfevents.TIME.fathom.PID. A record is: length (uint64), its masked crc, an Event message (tensorflow/core/util/event.proto), its masked crc.
class EventFile {
 public:
  // Starts a file that takes the place of what others in DIR say about steps from first_step on. Throws MachineError.
  EventFile(const std::filesystem::path& dir, int64_t first_step);
  // Scalars of a step, handed to the system. Throws MachineError.
  void Write(int64_t step, const std::vector<std::pair<std::string, double>>& scalars);

 private:
  void Append(const std::string& event);
  std::filesystem::path path_;
  std::ofstream file_;
};

}  // namespace fathom
