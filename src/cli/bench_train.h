// fathom bench train.
#pragma once

#include <cstdint>
#include <string>

#include "cli/verbs.h"

namespace fathom {

struct TrainBenchFlags {
  std::string moments = "fp32", masters = "fp32", recompute = "none";
  int64_t microbatches = 1, steps = 8;
  bool profile = false;
  bool fp8 = false;  // ModelOptions::fp8_training
};

// Trains a model of `config` with random weights on random tokens and prints the speed of a step. Throws UserError.
int BenchTrainVerb(const TrainBenchFlags& flags, const std::string& config, int64_t batch, int64_t tokens, const CommonOptions& common);

}  // namespace fathom
