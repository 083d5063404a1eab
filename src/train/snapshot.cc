#include "train/snapshot.h"

#include <ATen/Context.h>
#include <ATen/core/Generator.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <mutex>
#include <system_error>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "checkpoint/output_folder.h"
#include "checkpoint/save_tensors.h"
#include "checkpoint/tensor_file.h"
#include "train/checksum.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr int kVersion = 2;
constexpr const char* kPrefix = "step-";
constexpr const char* kRemovedPrefix = "removed-step-";  // a snapshot that is being removed: what a kill leaves of it is none
constexpr const char* kTensors = "state.safetensors";
constexpr const char* kCounters = "state.json";

std::vector<at::Generator> Generators(at::Device device) {
  std::vector<at::Generator> generators = {at::globalContext().defaultGenerator(at::kCPU)};
  if (!device.is_cpu()) generators.push_back(at::globalContext().defaultGenerator(device));
  return generators;
}

std::string ToHex(const at::Tensor& bytes) {
  static constexpr const char* kDigits = "0123456789abcdef";
  const at::Tensor host = bytes.to(at::kCPU).contiguous();
  std::string text;
  for (int64_t i = 0; i < host.numel(); ++i) {
    const uint8_t byte = host.const_data_ptr<uint8_t>()[i];
    text += kDigits[byte / 16];
    text += kDigits[byte % 16];
  }
  return text;
}

at::Tensor FromHex(const std::string& text) {
  at::Tensor bytes = at::empty({static_cast<int64_t>(text.size() / 2)}, at::TensorOptions(at::kByte));
  for (int64_t i = 0; i < bytes.numel(); ++i) {
    const char* digits = text.data() + 2 * i;
    FATHOM_USER_CHECK(std::from_chars(digits, digits + 2, bytes.mutable_data_ptr<uint8_t>()[i], 16).ptr == digits + 2, "the state of a random generator is no number");
  }
  return bytes;
}

// Every tensor that a snapshot holds, under its name there.
void ForEachTensor(Trainer& trainer, const std::function<void(const std::string&, at::Tensor&)>& visit) {
  for (const auto& [name, leaf] : trainer.optimizer().leaves()) {
    at::Tensor values = leaf.detach();
    visit("weight." + name, values);
  }
  trainer.optimizer().ForEachState(visit);
  if (trainer.average() != nullptr) {
    std::vector<at::Tensor>& averages = trainer.average()->values();
    for (size_t i = 0; i < averages.size(); ++i) visit("average." + trainer.optimizer().leaves()[i].first, averages[i]);
  }
  trainer.model().ForEachWeight([&](const WeightSpec& spec, WeightSlot& slot) {
    if (spec.kind == WeightKind::kRouterBias) visit("bias." + spec.name, slot.values);
  });
}

Json ReadState(const fs::path& folder) {
  Json state = ReadJsonFile(folder / kCounters);
  FATHOM_USER_CHECK(state.is_object() && state.value("version", 0) == kVersion, "{} is not of version {}", (folder / kCounters).string(), kVersion);
  const fs::path tensors = folder / kTensors;
  std::error_code error;
  const auto size = fs::file_size(tensors, error);
  FATHOM_USER_CHECK(!error && size == state.at("size").get<uint64_t>(), "{} is not there or has another size", tensors.string());
  FATHOM_USER_CHECK(ChecksumOfFile(tensors) == state.at("checksum").get<std::string>(), "{} has another checksum", tensors.string());
  return state;
}

Json Restore(const fs::path& folder, Trainer& trainer) {
  const Json state = ReadState(folder);
  const auto files = OpenSafetensors({folder / kTensors});
  size_t num_tensors = 0;
  // Looked at whole before the first value is taken: a snapshot of another model changes nothing.
  ForEachTensor(trainer, [&](const std::string& name, at::Tensor& values) {
    const TensorEntry* entry = files->Find(name);
    FATHOM_USER_CHECK(entry != nullptr && entry->shape == values.sizes().vec() && entry->dtype == values.scalar_type(),
                      "{} is of another model: {} is not there, or of another shape or dtype", folder.string(), name);
    ++num_tensors;
  });
  FATHOM_USER_CHECK(num_tensors == files->entries().size(), "{} is of another model: it has {} tensors, not {}", folder.string(), files->entries().size(),
                    num_tensors);
  const at::NoGradGuard no_grad;
  ForEachTensor(trainer, [&](const std::string& name, at::Tensor& values) { values.copy_(ReadTensor(*files->Find(name), at::ScalarType::Undefined)); });
  std::vector<at::Generator> generators = Generators(trainer.model().options().device);
  const Json& random = state.at("random");
  for (size_t i = 0; i < std::min(generators.size(), random.size()); ++i) {
    const std::lock_guard lock(generators[i].mutex());
    generators[i].set_state(FromHex(random[i].get<std::string>()));
  }
  trainer.SetCounters({state.at("step").get<int64_t>(), state.at("updates").get<int64_t>(), state.at("bad_steps").get<int64_t>(),
                       state.at("loss_scale").get<double>(), state.at("scale_good_steps").get<int64_t>()});
  return state.at("extra");
}

}  // namespace

Snapshot Snapshot::Take(Trainer& trainer, const Json& extra) {
  const at::NoGradGuard no_grad;
  Snapshot snapshot;
  snapshot.counters_ = trainer.counters();
  snapshot.extra_ = extra;
  for (at::Generator& generator : Generators(trainer.model().options().device)) {
    const std::lock_guard lock(generator.mutex());
    snapshot.random_.push_back(ToHex(generator.get_state()));
  }
  ForEachTensor(trainer, [&](const std::string& name, at::Tensor& values) {
    snapshot.tensors_.emplace_back(name, values.is_cpu() ? values.clone(at::MemoryFormat::Contiguous) : values.to(at::kCPU).contiguous());
  });
  return snapshot;
}

void Snapshot::Write(const fs::path& dir) const {
  std::error_code error;
  fs::create_directories(dir, error);
  if (error) ThrowMachineError("cannot create {}: {}", dir.string(), error.message());
  OutputFolder folder(dir / fmt::format("{}{:08}", kPrefix, counters_.step));
  int64_t num_bytes = 0;
  for (const auto& [name, values] : tensors_) num_bytes += static_cast<int64_t>(values.nbytes());
  folder.CheckSpace(num_bytes);
  SaveTensors(folder.path() / kTensors, tensors_);
  const Json state = {{"version", kVersion},
                      {"step", counters_.step},
                      {"updates", counters_.updates},
                      {"bad_steps", counters_.bad_steps},
                      {"loss_scale", counters_.loss_scale},
                      {"scale_good_steps", counters_.scale_good_steps},
                      {"random", random_},
                      {"extra", extra_},
                      {"size", fs::file_size(folder.path() / kTensors)},
                      {"checksum", ChecksumOfFile(folder.path() / kTensors)}};
  OutputFile file(folder.path() / kCounters);
  file.Write(state.dump(1));
  file.Close();
  folder.Commit();
}

std::vector<std::pair<int64_t, fs::path>> ListSnapshots(const fs::path& dir) {
  std::vector<std::pair<int64_t, fs::path>> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(dir, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix) || !entry.is_directory()) continue;
    const char *begin = name.data() + std::strlen(kPrefix), *end = name.data() + name.size();
    int64_t step = 0;
    if (const auto parsed = std::from_chars(begin, end, step); parsed.ec == std::errc() && parsed.ptr == end) found.emplace_back(step, entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::optional<Json> RestoreNewest(const fs::path& dir, Trainer& trainer) {
  auto snapshots = ListSnapshots(dir);
  for (auto newest = snapshots.rbegin(); newest != snapshots.rend(); ++newest) {
    try {
      return Restore(newest->second, trainer);
    } catch (const UserError& damaged) {
      LogWarn("passed over a snapshot: {}", damaged.what());
    } catch (const Json::exception& damaged) {
      LogWarn("passed over a snapshot: {} is damaged ({})", (newest->second / kCounters).string(), damaged.what());
    }
  }
  return std::nullopt;
}

SnapshotWriter::SnapshotWriter(fs::path dir, const SnapshotKeep& keep) : dir_(std::move(dir)), keep_(keep) {
  // What a killed run has left half written or half removed.
  std::vector<fs::path> left;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(dir_, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kRemovedPrefix) || (name.starts_with(kPrefix) && name.find(".tmp-") != std::string::npos)) left.push_back(entry.path());
  }
  for (const fs::path& path : left) fs::remove_all(path, error);
}

SnapshotWriter::~SnapshotWriter() {
  try {
    Wait();
  } catch (const std::exception& failure) {
    LogWarn("the last snapshot was not written: {}", failure.what());
  }
}

void SnapshotWriter::Save(Trainer& trainer, const Json& extra) {
  Wait();
  auto snapshot = std::make_shared<const Snapshot>(Snapshot::Take(trainer, extra));
  writing_ = std::async(std::launch::async, [this, snapshot] {
    snapshot->Write(dir_);
    RemoveOld();
  });
}

void SnapshotWriter::Wait() {
  if (writing_.valid()) writing_.get();
}

void SnapshotWriter::RemoveOld() const {
  const auto snapshots = ListSnapshots(dir_);
  const auto num_old = static_cast<int64_t>(snapshots.size()) - std::max<int64_t>(keep_.last, 1);
  for (int64_t i = 0; i < num_old; ++i) {
    const auto& [step, folder] = snapshots[static_cast<size_t>(i)];
    if (keep_.every > 0 && step % keep_.every == 0) continue;
    const fs::path removed = dir_ / fmt::format("{}{:08}", kRemovedPrefix, step);
    std::error_code error;
    fs::rename(folder, removed, error);
    if (!error) fs::remove_all(removed, error);
    if (error) LogWarn("cannot remove the old snapshot {}: {}", folder.string(), error.message());
  }
}

}  // namespace fathom
