// A trained model as a folder that transformers and `fathom generate` load.
#pragma once

#include <filesystem>

#include "train/recipe.h"
#include "train/trainer.h"

namespace fathom {

// config.json, weights in the recipe's dtype, and the tokenizer's files, in a new folder. `average`: the moving average in the place of the weights (which the
// trainer has again when it returns). Throws UserError, MachineError.
void ExportModel(Trainer& trainer, const Recipe& recipe, bool average, const std::filesystem::path& folder);

}  // namespace fathom
