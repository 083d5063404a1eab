#include "train/pretrain.h"

#include <ATen/Context.h>
#include <ATen/core/Generator.h>
#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "data/dataset.h"
#include "data/loader.h"
#include "model/weight_table.h"
#include "ops/cuda_backend.h"
#include "train/evaluation.h"
#include "train/export_model.h"
#include "train/report.h"
#include "train/run_outputs.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

fs::path SnapshotsOf(const PretrainOptions& options) { return options.out / "checkpoints"; }

double PeakMemoryGib(at::Device device) {
  constexpr double kGib = 1 << 30;
  if (device.is_cuda() && ops::CudaTable() != nullptr) return static_cast<double>(ops::CudaTable()->peak_bytes()) / kGib;
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024 / kGib;  // Linux counts it in KiB
}

class Run {
 public:
  Run(const Recipe& recipe, const PretrainOptions& options)
      : recipe_(recipe),
        options_(options),
        dataset_(OpenData()),
        model_(recipe.model, {.dtype = recipe.dtype, .device = options.device, .fp8_training = recipe.fp8}),
        loader_(dataset_, {.sequence_length = recipe.sequence_length, .seed = recipe.seed}),
        active_parameters_(static_cast<double>(CountParameters(recipe.model).active)) {
    if (recipe.deterministic) at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
    at::Generator generator = at::globalContext().defaultGenerator(at::kCPU);
    generator.set_current_seed(recipe.seed);
    model_.InitializeRandom(recipe.seed);
    trainer_.emplace(model_, recipe.trainer);
    if (!options.resume) return;
    if (const std::optional<Json> extra = RestoreNewest(SnapshotsOf(options), *trainer_)) {
      loader_.Seek(extra->at("data"));
      tokens_seen_ = extra->at("tokens_seen").get<int64_t>();
      LogInfo("resumed at step {}", trainer_->step());
    } else {
      LogInfo("no whole snapshot in {}: the run starts at its beginning", SnapshotsOf(options).string());
    }
  }

  PretrainResult Go(const std::function<void(const StepReport&)>& on_step) {
    RunOutputs outputs(options_.out, trainer_->step(), recipe_.steps);
    SnapshotWriter snapshots(SnapshotsOf(options_), recipe_.keep);
    saved_step_ = trainer_->step();
    PretrainResult result;
    bool stops = false;
    while (trainer_->step() < recipe_.steps && !result.data_ended) {
      stops = options_.stop && options_.stop();
      if (stops) break;
      result.data_ended = !Step(outputs, on_step);
      if (recipe_.snapshot_every > 0 && trainer_->step() % recipe_.snapshot_every == 0) Save(snapshots);
    }
    Save(snapshots);
    snapshots.Wait();
    WriteReport(options_.out);
    result.last_step = trainer_->step();
    result.finished = !stops;
    if (result.finished) result.model = Export();
    return result;
  }

 private:
  std::shared_ptr<const Dataset> OpenData() const {
    return Dataset::Open(recipe_.data, recipe_.tokenizer,
                         {.cache = options_.out / "tokens", .num_threads = options_.num_threads, .stop = options_.stop, .show_progress = options_.show_progress});
  }

  DataLoader HeldOut() const {
    return DataLoader(dataset_, {.sequence_length = recipe_.sequence_length, .seed = recipe_.seed, .split = Split::kHeldOut});
  }

  // Found out before the first step, not at the first evaluation.
  bool HasHeldOut() const {
    if (recipe_.evaluate_every <= 0 || recipe_.data.held_out <= 0) return false;
    try {
      HeldOut();
      return true;
    } catch (const UserError& error) {
      LogWarn("the run goes without evaluation: {}", error.what());
      return false;
    }
  }

  void Save(SnapshotWriter& snapshots) {
    if (trainer_->step() == saved_step_) return;
    saved_step_ = trainer_->step();
    snapshots.Save(*trainer_, {{"data", loader_.Position()}, {"tokens_seen", tokens_seen_}});
  }

  TrainBatch ToTrainBatch(const Batch& batch) const {
    const int64_t depths = recipe_.trainer.objective.mtp_weight > 0 ? recipe_.model.num_nextn_predict_layers : 0;
    return MakeTrainBatch(batch.tokens, batch.targets, batch.lens, depths, options_.device);
  }

  std::vector<TrainBatch> NextBatches(int64_t rows) {
    std::vector<TrainBatch> batches;
    const int64_t most = recipe_.microbatch_size > 0 ? recipe_.microbatch_size : rows;
    for (int64_t left = rows; left > 0; left -= most) {
      const std::optional<Batch> batch = loader_.Next(std::min(left, most));
      if (!batch) break;
      if (batch->num_targets == 0) continue;  // the last token of all
      batches.push_back(ToTrainBatch(*batch));
    }
    return batches;
  }

  // False where the data has ended.
  bool Step(RunOutputs& outputs, const std::function<void(const StepReport&)>& on_step) {
    const double start = MonotonicSeconds();
    const Json position = loader_.Position();
    const std::vector<TrainBatch> batches = NextBatches(recipe_.RowsAt(trainer_->step() + 1));
    if (batches.empty()) {
      LogWarn("the sources have come to their repeat limits at step {} of {}", trainer_->step(), recipe_.steps);
      return false;
    }
    StepReport report;
    report.metrics = trainer_->Step(batches);
    Fill(report, MonotonicSeconds() - start);
    if (report.metrics.skipped) outputs.WriteBadStep(trainer_->step(), position);
    if (recipe_.evaluate_every > 0 && trainer_->step() % recipe_.evaluate_every == 0) EvaluateInto(report, outputs);
    outputs.Write(report);
    on_step(report);
    return true;
  }

  void EvaluateInto(StepReport& report, RunOutputs& outputs) {
    const double temperature = trainer_->options().objective.router_temperature;
    if (evaluates_) {
      DataLoader held_out = HeldOut();
      const int64_t rows_at_once = recipe_.microbatch_size > 0 ? recipe_.microbatch_size : recipe_.batch_size;
      report.evaluation = Evaluate(model_, held_out, {.rows = recipe_.evaluate_rows, .rows_at_once = rows_at_once, .router_temperature = temperature});
    }
    if (recipe_.prompts.empty()) return;
    const std::vector<std::string> texts = ContinueTexts(model_, *dataset_->tokenizer, recipe_.prompts, recipe_.new_tokens, temperature);
    for (size_t i = 0; i < texts.size(); ++i) outputs.WriteSample(report.metrics.step, recipe_.prompts[i], texts[i]);
  }

  void Fill(StepReport& report, double seconds) {
    tokens_seen_ += report.metrics.num_tokens;
    const double tokens = static_cast<double>(report.metrics.num_tokens);
    report.tokens_seen = tokens_seen_;
    report.tokens_per_s = tokens / seconds;
    report.tflop_per_s = 6 * active_parameters_ * tokens / seconds / 1e12;
    if (options_.peak_tflop_per_s > 0) report.mfu = report.tflop_per_s / options_.peak_tflop_per_s;
    report.memory_gib = PeakMemoryGib(options_.device);
    mean_seconds_ = mean_seconds_ > 0 ? 0.9 * mean_seconds_ + 0.1 * seconds : seconds;
    report.seconds_left = mean_seconds_ * static_cast<double>(recipe_.steps - report.metrics.step);
  }

  fs::path Export() {
    for (const bool average : {false, true}) {
      const fs::path folder = options_.out / (average ? "model-average" : "model");
      std::error_code error;
      fs::remove_all(folder, error);  // of a run that ended before it was whole, or of fewer steps
      if (!average || trainer_->average() != nullptr) ExportModel(*trainer_, recipe_, average, folder);
    }
    return options_.out / "model";
  }

  const Recipe& recipe_;
  const PretrainOptions& options_;
  std::shared_ptr<const Dataset> dataset_;
  Model model_;
  DataLoader loader_;
  std::optional<Trainer> trainer_;
  double active_parameters_;
  bool evaluates_ = HasHeldOut();
  int64_t tokens_seen_ = 0, saved_step_ = 0;
  double mean_seconds_ = 0;
};

}  // namespace

void PrepareRunFolder(const fs::path& dir, bool resume) {
  std::error_code error;
  if (!resume) FATHOM_USER_CHECK(!fs::exists(dir) || (fs::is_directory(dir) && fs::is_empty(dir)), "--out {} is not empty: give another folder, or --resume", dir.string());
  fs::create_directories(dir, error);
  if (error) ThrowMachineError("cannot create {}: {}", dir.string(), error.message());
}

PretrainResult Pretrain(const Recipe& recipe, const PretrainOptions& options, const std::function<void(const StepReport&)>& on_step) {
  WriteFileAtomically(options.out / "recipe.yaml", recipe.yaml);
  return Run(recipe, options).Go(on_step);
}

ExportedRun ExportRun(const Recipe& recipe, const PretrainOptions& options, bool average, const fs::path& folder) {
  Model model(recipe.model, {.dtype = recipe.dtype, .device = options.device, .fp8_training = recipe.fp8});
  Trainer trainer(model, recipe.trainer);
  FATHOM_USER_CHECK(RestoreNewest(SnapshotsOf(options), trainer), "{} has no whole checkpoint of the recipe's model", SnapshotsOf(options).string());
  ExportModel(trainer, recipe, average, folder);
  return {trainer.step()};
}

}  // namespace fathom
