// The one table from weights to GGUF's tensor names.
#pragma once

#include <string>

#include "model/weight_table.h"

namespace fathom {

// GGUF's name of a weight: "blk.3.attn_q.weight". A routed expert's is that of its layer's stacked tensor, kv_b_proj's that of the whole one.
// Throws UserError for weights that GGUF has no name for here (the indexer, MTP).
std::string GgufName(const WeightSpec& spec);

}  // namespace fathom
