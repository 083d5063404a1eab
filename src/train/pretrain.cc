#include "train/pretrain.h"

#include <ATen/Context.h>
#include <ATen/core/Generator.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <numbers>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "checkpoint/checkpoint.h"
#include "data/dataset.h"
#include "data/loader.h"
#include "model/weight_table.h"
#include "train/step_log.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxShardBytes = int64_t{5} << 30;

class Run {
 public:
  Run(const Recipe& recipe, const PretrainOptions& options)
      : recipe_(recipe),
        options_(options),
        dataset_(OpenData()),
        model_(recipe.model, {.dtype = recipe.dtype, .device = options.device}),
        loader_(dataset_, {.sequence_length = recipe.sequence_length, .seed = recipe.seed}),
        active_parameters_(static_cast<double>(CountParameters(recipe.model).active)) {
    if (recipe.deterministic) at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
    at::Generator generator = at::globalContext().defaultGenerator(at::kCPU);
    generator.set_current_seed(recipe.seed);
    model_.InitializeRandom(recipe.seed);
    trainer_.emplace(model_, recipe.trainer);
    if (!options.resume) return;
    if (const std::optional<Json> extra = RestoreNewest(Snapshots(), *trainer_)) {
      loader_.Seek(extra->at("data"));
      tokens_seen_ = extra->at("tokens_seen").get<int64_t>();
      LogInfo("resumed at step {}", trainer_->step());
    } else {
      LogInfo("no whole snapshot in {}: the run starts at its beginning", Snapshots().string());
    }
  }

  PretrainResult Go(const std::function<void(const StepReport&)>& on_step) {
    StepLog log(options_.out / "log.jsonl", trainer_->step());
    SnapshotWriter snapshots(Snapshots(), recipe_.keep);
    PretrainResult result;
    while (trainer_->step() < recipe_.steps) {
      const double start = MonotonicSeconds();
      const std::vector<TrainBatch> batches = NextBatches(recipe_.RowsAt(trainer_->step() + 1));
      if (batches.empty()) {
        result.data_ended = true;
        LogWarn("the sources have come to their repeat limits at step {} of {}", trainer_->step(), recipe_.steps);
        break;
      }
      StepReport report;
      report.metrics = trainer_->Step(batches);
      if (recipe_.evaluate_every > 0 && trainer_->step() % recipe_.evaluate_every == 0) report.evaluation = Evaluate();
      Fill(report, MonotonicSeconds() - start);
      log.Write(report);
      on_step(report);
      const bool stops = options_.stop && options_.stop();
      const bool is_due = recipe_.snapshot_every > 0 && trainer_->step() % recipe_.snapshot_every == 0;
      if (is_due || stops || trainer_->step() == recipe_.steps) snapshots.Save(*trainer_, Extra());
      if (stops && trainer_->step() < recipe_.steps) {
        snapshots.Wait();
        result.last_step = trainer_->step();
        return result;
      }
    }
    snapshots.Wait();
    result.last_step = trainer_->step();
    result.finished = true;
    result.model = Export();
    return result;
  }

 private:
  fs::path Snapshots() const { return options_.out / "checkpoints"; }
  Json Extra() const { return {{"data", loader_.Position()}, {"tokens_seen", tokens_seen_}}; }

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

  std::optional<EvaluationMetrics> Evaluate() const {
    if (!evaluates_) return std::nullopt;
    DataLoader held_out = HeldOut();
    ObjectiveOptions objective = trainer_->options().objective;
    objective.mtp_weight = 0;
    double nats = 0, targets = 0, bytes = 0;
    const int64_t most = recipe_.microbatch_size > 0 ? recipe_.microbatch_size : recipe_.batch_size;
    for (int64_t left = recipe_.evaluate_rows; left > 0; left -= most) {
      const std::optional<Batch> batch = held_out.Next(std::min(left, most));
      if (!batch || batch->num_targets == 0) break;
      const TrainBatch rows = MakeTrainBatch(batch->tokens, batch->targets, batch->lens, 0, options_.device);
      const Losses losses = EvaluateLosses(model_, rows, CountTargets(std::vector<TrainBatch>{rows}), objective);
      nats += losses.next_token.item<double>() * static_cast<double>(batch->num_targets);
      targets += static_cast<double>(batch->num_targets);
      bytes += static_cast<double>(batch->target_bytes);
    }
    if (targets == 0) return std::nullopt;
    return EvaluationMetrics{nats / targets, bytes > 0 ? nats / std::numbers::ln2 / bytes : 0};
  }

  void Fill(StepReport& report, double seconds) {
    tokens_seen_ += report.metrics.num_tokens;
    const double tokens = static_cast<double>(report.metrics.num_tokens);
    report.tokens_seen = tokens_seen_;
    report.tokens_per_s = tokens / seconds;
    report.tflop_per_s = 6 * active_parameters_ * tokens / seconds / 1e12;
    mean_seconds_ = mean_seconds_ > 0 ? 0.9 * mean_seconds_ + 0.1 * seconds : seconds;
    report.seconds_left = mean_seconds_ * static_cast<double>(recipe_.steps - report.metrics.step);
  }

  fs::path Export() {
    const fs::path folder = options_.out / "model";
    std::error_code error;
    fs::remove_all(folder, error);  // of a run that ended before it was whole, or of fewer steps
    SaveHuggingFace(model_, folder, recipe_.dtype, kMaxShardBytes);
    const fs::path tokenizer = recipe_.tokenizer;
    const fs::path from = fs::is_directory(tokenizer) ? tokenizer : tokenizer.parent_path();
    for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "generation_config.json"}) {
      if (fs::exists(from / name)) fs::copy_file(from / name, folder / name, fs::copy_options::overwrite_existing, error);
      if (error) ThrowMachineError("cannot copy {} to {}: {}", (from / name).string(), folder.string(), error.message());
    }
    return folder;
  }

  const Recipe& recipe_;
  const PretrainOptions& options_;
  std::shared_ptr<const Dataset> dataset_;
  Model model_;
  DataLoader loader_;
  std::optional<Trainer> trainer_;
  double active_parameters_;
  bool evaluates_ = HasHeldOut();
  int64_t tokens_seen_ = 0;
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
  std::ofstream(options.out / "recipe.yaml") << recipe.yaml;
  return Run(recipe, options).Go(on_step);
}

}  // namespace fathom
