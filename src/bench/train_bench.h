// Whole training steps of a model, beside the matrix product of this machine.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "bench/kernel_profile.h"
#include "model/model.h"
#include "train/trainer.h"

namespace fathom {

struct TrainBenchOptions {
  int64_t batch = 8, tokens = 2048;  // sequences a step, tokens of each
  int64_t microbatches = 1;          // that the sequences are cut into
  int64_t steps = 8, warmup_steps = 3;
  TrainerOptions trainer = {};
  bool profile = false;              // one more step under the profiler
  std::function<bool()> cancelled = {};
};

struct TrainBenchResult {
  int64_t steps = 0;
  double seconds_per_step = 0;  // median
  double tokens_per_s = 0;
  double flop_per_step = 0;     // 6 a token and active parameter
  double peak_bytes = 0;        // of the device's allocator; 0 on the CPU
  double first_loss = 0, last_loss = 0;
  int64_t active_parameters = 0, parameters = 0;
  std::vector<KernelTime> kernels;  // of the profiled step
};

// Trains on random tokens: forward, backward, clip, optimizer, balance, metrics on the host, as Trainer::Step does.
TrainBenchResult BenchTrain(const std::shared_ptr<Model>& model, const TrainBenchOptions& options);

}  // namespace fathom
