// Training snapshots: everything that a run goes on from, in folders that are there whole or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "train/trainer.h"

namespace fathom {

// A folder DIR/step-00000042 holds
//   state.safetensors   weights, moments, masters and router biases, by leaf (weight.NAME, first_moment.NAME, ...)
//   state.json          version, counters, states of the random generators, what the caller adds, and the size and checksum of state.safetensors
// It is written beside its place, synced and renamed, and renamed before it is removed: a folder of that name is whole at any moment. The checksum is looked at before
// anything is taken from it.

// A copy of a trainer's state in host memory: training may go on while it is written.
class Snapshot {
 public:
  // `extra` is kept as it is: the position in the data, a fingerprint of the recipe.
  static Snapshot Take(Trainer& trainer, const Json& extra);
  int64_t step() const { return counters_.step; }
  // Writes DIR/step-N. Throws MachineError (a full disk), and then DIR is as it was.
  void Write(const std::filesystem::path& dir) const;

 private:
  Trainer::Counters counters_;
  Json extra_;
  std::vector<std::string> random_;  // states of the generators, in hexadecimal
  std::vector<std::pair<std::string, at::Tensor>> tensors_;
};

// Snapshots of DIR, oldest first: (step, folder). Other names are left alone.
std::vector<std::pair<int64_t, std::filesystem::path>> ListSnapshots(const std::filesystem::path& dir);

// Puts the newest whole snapshot of DIR into the trainer and gives its `extra`; nullopt where there is none. A damaged one (a file missing, another
// size, another checksum, another model) is named in a warning and passed over.
std::optional<Json> RestoreNewest(const std::filesystem::path& dir, Trainer& trainer);

struct SnapshotKeep {
  int64_t last = 3;   // the newest so many stay
  int64_t every = 0;  // and those whose step is a multiple of it; 0: none
};

// Writes snapshots one at a time on a thread of its own.
class SnapshotWriter {
 public:
  // Removes what a killed writer of `dir` has left half done.
  SnapshotWriter(std::filesystem::path dir, const SnapshotKeep& keep);
  ~SnapshotWriter();  // waits; a failure is a warning
  // Copies the state and returns while it is written; waits for the one before. Throws what the one before threw.
  void Save(Trainer& trainer, const Json& extra);
  // Throws MachineError where the last one could not be written.
  void Wait();

 private:
  void RemoveOld() const;
  std::filesystem::path dir_;
  SnapshotKeep keep_;
  std::future<void> writing_;
};

}  // namespace fathom
