// A training step: forward and backward of its microbatches, clip, optimizer, balance.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/model.h"
#include "train/balance_controller.h"
#include "train/batch.h"
#include "train/loss_scaler.h"
#include "train/objective.h"
#include "train/optimizer.h"
#include "train/schedule.h"
#include "train/weight_average.h"

namespace fathom {

inline constexpr double kMostExpertFactor = 8;

struct TrainerOptions {
  ObjectiveOptions objective;
  OptimizerOptions optimizer;
  Schedule schedule;
  double balance_gamma = 0;         // of the router biases; V3: 1e-3
  int64_t balance_freeze_step = -1;  // from this step on gamma is 0; negative: never
  RecomputePlan recompute;
  // MTP's weight after a step and the router's temperature, by step; empty: as the objective has them.
  std::function<double(int64_t step)> mtp_weight = {}, router_temperature = {};
  int64_t most_bad_steps = 10;      // so many in a row end the run
  // The gradient of each stacked expert is brought to the mean of their norms (by a factor of at most kMostExpertFactor either way), so that rarely chosen experts learn as
  // fast as others. An expert without tokens has none.
  bool even_expert_gradients = false;
  double average_decay = 0;         // of a moving average of the weights in host memory, a step; 0: none
  int64_t average_every = 1;        // steps between two of its updates, which decay by average_decay ^ average_every
};

struct StepMetrics {
  int64_t step = 0;              // counted from 1
  double loss = 0;               // next token, mean
  std::vector<double> mtp_loss;  // a depth each
  double balance_loss = 0;       // mean over mixtures of sum f P; 0 without one
  double grad_norm = 0;          // before the clip
  double lr = 0;
  int64_t num_tokens = 0;
  bool skipped = false;          // the loss or the gradients were not finite: nothing was changed
  double loss_scale = 1;         // float16's, of this step
  // Over the mixtures of the model (and its MTP modules): a value of all of them, and the mixture that has it.
  std::vector<std::vector<int64_t>> counts;  // of each mixture how often each expert was chosen
  std::vector<ExpertLoad> load;              // a mixture each
  double utilisation = 1;                    // mean
  struct Worst {
    double value = 0;
    int64_t layer = -1;
  };
  Worst worst_utilisation{1}, max_over_mean{1}, entropy{1};  // least, largest, least
  double bias_min = 0, bias_max = 0;
  Worst bias_range;                          // largest of max - min of a mixture
  int64_t num_dropped = 0;                   // choices beyond the experts' capacity
  Worst most_dropped;                        // largest share of a mixture's choices
};

class Trainer {
 public:
  // Turns the model's gradients on. The model lives as long as the trainer.
  Trainer(Model& model, const TrainerOptions& options);

  // One step over the microbatches. Between its launches the host reads nothing from the device; it waits once, for the metrics.
  // Throws MachineError when most_bad_steps steps in a row were skipped.
  StepMetrics Step(const std::vector<TrainBatch>& microbatches);

  int64_t step() const { return step_; }  // steps done, bad ones included
  Model& model() { return model_; }
  const TrainerOptions& options() const { return options_; }
  Optimizer& optimizer() { return optimizer_; }
  WeightAverage* average() { return average_.get(); }  // null without one

  // What Step goes on from, besides the model's weights and the optimizer's state.
  struct Counters {
    int64_t step = 0, updates = 0, bad_steps = 0;
    double loss_scale = 1;
    int64_t scale_good_steps = 0;
  };
  Counters counters() const { return {step_, updates_, bad_steps_, scaler_.scale(), scaler_.good_steps()}; }
  void SetCounters(const Counters& counters);

 private:
  std::vector<at::Tensor> TakeGradients();
  // Divided by the loss's scale, float32 where there is one; evened over experts where the options say so.
  void Prepare(std::vector<at::Tensor>& gradients) const;
  void OnBadStep(const StepMetrics& metrics);
  StepMetrics ReadMetrics(const std::vector<Losses>& losses, const at::Tensor& norm, int64_t num_tokens, double lr) const;

  Model& model_;
  TrainerOptions options_;
  Optimizer optimizer_;
  BalanceController balance_;
  LossScaler scaler_;
  std::unique_ptr<WeightAverage> average_;
  int64_t step_ = 0, updates_ = 0, bad_steps_ = 0;  // updates: steps that were not skipped
};

}  // namespace fathom
