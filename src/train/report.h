// DIR/report.html: a run on one page.
#pragma once

#include <filesystem>

namespace fathom {

// Reads what the run in `dir` has written (log.jsonl, expert_load.jsonl, samples.jsonl, recipe.yaml) and writes dir/report.html: one file with nothing
// outside it. Curves of the losses, the held-out text, learning rate, norms, speed and balance as inline SVG; the load of each expert in each mixture over the
// last tenth of the run as a heat map; the continued prompts as training went on. Throws MachineError.
void WriteReport(const std::filesystem::path& dir);

}  // namespace fathom
