// fathom pretrain: a recipe from text to a model.
#include <ATen/Parallel.h>
#include <CLI/CLI.hpp>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/yaml.h"
#include "bench/machine.h"
#include "cli/arguments.h"
#include "cli/compute_device.h"
#include "cli/interrupt.h"
#include "cli/program.h"
#include "cli/verb_options.h"
#include "cli/verbs.h"
#include "model/weight_table.h"
#include "text/tokenizer.h"
#include "train/pretrain.h"
#include "train/run_plan.h"

namespace fathom {
namespace {

struct PretrainFlags {
  std::string recipe, out;
  std::vector<std::string> set, data;
  std::string export_to;
  bool resume = false, average = false, plan = false;
  PlanOptions planned;
};

std::string Seconds(double seconds) {
  const auto whole = static_cast<int64_t>(seconds + 0.5);
  if (whole >= 3600) return fmt::format("{}h{:02}m", whole / 3600, whole % 3600 / 60);
  return whole >= 60 ? fmt::format("{}m{:02}s", whole / 60, whole % 60) : fmt::format("{}s", whole);
}

std::string Bar(double done) {
  constexpr int kWidth = 20;
  const int full = static_cast<int>(std::lround(done * kWidth));
  return "[" + std::string(static_cast<size_t>(full), '#') + std::string(static_cast<size_t>(kWidth - full), '.') + "]";
}

// A line a step; on a terminal it stays where it is but for every tenth and those that say something new.
class StepPrinter {
 public:
  explicit StepPrinter(int64_t num_steps) : num_steps_(num_steps), is_terminal_(isatty(STDOUT_FILENO) != 0) {}

  void operator()(const StepReport& report) {
    const StepMetrics& m = report.metrics;
    std::string line = fmt::format("step {:>{}}/{} | loss {:.4f}", m.step, std::to_string(num_steps_).size(), num_steps_, m.loss);
    if (!m.mtp_loss.empty()) line += fmt::format(" | mtp {:.4f}", m.mtp_loss[0]);
    line += fmt::format(" | norm {:.3f} | lr {:.2e} | {:.0f} tok/s | {:.2f} TFLOP/s", m.grad_norm, m.lr, report.tokens_per_s, report.tflop_per_s);
    if (report.mfu > 0) line += fmt::format(" | {:.1f}% MFU", 100 * report.mfu);
    line += fmt::format(" | {:.2f} GiB", report.memory_gib);
    if (!m.load.empty()) line += fmt::format(" | load {:.1f}%", 100 * m.worst_utilisation.value);
    if (is_terminal_) line += " | " + Bar(static_cast<double>(m.step) / static_cast<double>(num_steps_));
    line += fmt::format(" | {} left", Seconds(report.seconds_left));
    if (m.skipped) line += " | skipped";
    const bool stays = !is_terminal_ || m.step % 10 == 0 || m.step == num_steps_ || m.skipped || report.evaluation;
    std::printf("%s%s%s", is_terminal_ ? "\r\033[K" : "", line.c_str(), stays ? "\n" : "");
    if (report.evaluation) Print(*report.evaluation);
    std::fflush(stdout);
  }

 private:
  static void Print(const EvaluationMetrics& held_out) {
    std::printf("held out: loss %.4f, %.4f bits per byte", held_out.loss, held_out.bits_per_byte);
    if (held_out.mtp_acceptance) std::printf(", %.1f%% of second tokens guessed", 100 * *held_out.mtp_acceptance);
    std::printf("\n");
  }

  int64_t num_steps_;
  bool is_terminal_;
};

// The size of the run's tokenizer, which may not be there yet.
int64_t PlannedVocabulary(const Yaml& recipe) {
  const auto tokenizer = recipe.Find("tokenizer");
  if (!tokenizer) return 1;
  if (tokenizer->is_map()) return tokenizer->Get("vocab_size").AsInt(1);
  return std::filesystem::exists(tokenizer->AsString()) ? Tokenizer::Load(tokenizer->AsString())->vocab_size() : 1;
}

int Plan(const PretrainFlags& flags, const Recipe& recipe) {
  fmt::print("{}", FormatPlan(PlanRun(recipe, flags.planned), recipe, flags.planned));
  return kExitDone;
}

Recipe ReadRecipe(const Yaml& yaml, const PretrainOptions& options, const CommonOptions& common) {
  const std::filesystem::path tokenizer = PrepareTokenizer(yaml, options);
  Recipe recipe = ParseRecipe(yaml, tokenizer.string(), Tokenizer::Load(tokenizer)->vocab_size());
  if (common.seed_given) recipe.seed = common.seed;
  if (common.dtype != "auto") {
    recipe.dtype = DtypeOfFlag(common.dtype);
    recipe.fp8 = false;
  }
  return recipe;
}

int Train(const PretrainFlags& flags, const Yaml& yaml, PretrainOptions options, const CommonOptions& common) {
  PrepareRunFolder(flags.out, flags.resume);
  const Recipe recipe = ReadRecipe(yaml, options, common);
  const bool on_cpu = options.device.is_cpu();
  options.peak_tflop_per_s = (on_cpu ? MeasureMatrixRate(options.num_threads, recipe.dtype) : MeasureLimits(options.device, recipe.dtype).matrix_gflop_per_s) / 1e3;
  const ParameterCount count = CountParameters(recipe.model);
  std::printf("%.2fM parameters, %.2fM active, on %s; %ld steps of %ld x %ld tokens\n", static_cast<double>(count.total) / 1e6,
              static_cast<double>(count.active) / 1e6, options.device.str().c_str(), recipe.steps, recipe.batch_size, recipe.sequence_length);
  StepPrinter print(recipe.steps);
  const PretrainResult result = Pretrain(recipe, options, [&](const StepReport& report) { print(report); });
  if (!result.finished) {
    std::printf("\nstopped after step %ld of %ld; --resume goes on from there\n", result.last_step, recipe.steps);
    return kExitInterrupted;
  }
  std::printf("%s after step %ld; the model is in %s, the curves are in %s\n", result.data_ended ? "the data ended" : "done", result.last_step, result.model.c_str(),
              (options.out / "report.html").c_str());
  return kExitDone;
}

int RunPretrain(const PretrainFlags& flags, const CommonOptions& common) {
  const InterruptGuard guard;  // before anything that takes long
  const bool goes_on = flags.recipe.empty() && (flags.resume || !flags.export_to.empty());
  FATHOM_USER_CHECK(!flags.recipe.empty() || goes_on, "`fathom pretrain` needs --recipe R.yaml, got none");
  FATHOM_USER_CHECK(!flags.out.empty() || flags.plan, "`fathom pretrain` needs --out DIR, got none");
  const std::filesystem::path file = goes_on ? std::filesystem::path(flags.out) / "recipe.yaml" : std::filesystem::path(flags.recipe);
  const Yaml yaml = WithSettings(Yaml::ReadFile(file), flags.set, flags.data);
  const Recipe checked = ParseRecipe(yaml, "", PlannedVocabulary(yaml));  // mistakes are told before anything is made
  if (flags.plan) return Plan(flags, checked);
  const PretrainOptions options{.out = flags.out, .resume = flags.resume, .device = ResolveDevice(common), .num_threads = at::get_num_threads(),
                                .show_progress = isatty(STDERR_FILENO) != 0, .stop = InterruptGuard::Interrupted};
  if (flags.export_to.empty()) return Train(flags, yaml, options, common);
  const ExportedRun exported = ExportRun(ReadRecipe(yaml, options, common), options, flags.average, flags.export_to);
  std::printf("%s of step %ld is in %s\n", flags.average ? "the average" : "the model", exported.step, flags.export_to.c_str());
  return kExitDone;
}

}  // namespace

VerbFunction AddPretrain(CLI::App& app, CommonOptions& common) {
  auto flags = std::make_shared<PretrainFlags>();
  CLI::App* verb = app.add_subcommand("pretrain", "train a model from text, as a recipe says");
  AddText(*verb, "--recipe", flags->recipe, "the recipe")->type_name("R.yaml");
  AddTexts(*verb, "--set", flags->set, "settings of the recipe: train.steps=100 model.depth=4")->type_name("PATH=VALUE");
  AddTexts(*verb, "--data", flags->data, "text to train on, instead of the recipe's sources: files, folders, globs")->type_name("PATH");
  AddText(*verb, "--out", flags->out, "the run's folder: log.jsonl, checkpoints, the model")->type_name("DIR");
  AddSwitch(*verb, "--resume", flags->resume, "go on from the newest whole checkpoint in --out (--recipe: by default the run's own)");
  AddText(*verb, "--export", flags->export_to, "write the newest checkpoint in --out as a Hugging Face folder, and train nothing")->type_name("DIR");
  AddSwitch(*verb, "--average", flags->average, "--export: the moving average of the weights (optimizer.average) instead of the weights");
  AddSwitch(*verb, "--plan", flags->plan, "check the recipe and print what it would take; train nothing");
  AddInteger(*verb, "--devices", flags->planned.num_devices, "--plan: how many devices (1)", 1);
  AddNumber(*verb, "--device-tflops", flags->planned.tflop_per_s, "--plan: TFLOP/s that training reaches on one (400)", {.least = 1e-3});
  AddNumber(*verb, "--device-gb", flags->planned.device_gb, "--plan: memory of one (141)", {.least = 1e-3});
  AddCommonOptions(*verb, common, 0);
  verb->footer(
      "Examples:\n  fathom pretrain --recipe recipes/tiny-cpu.yaml --out run\n  fathom pretrain --recipe recipes/tiny-cpu.yaml --out run --resume\n"
      "  fathom pretrain --recipe R.yaml --data 'texts/*.jsonl' --set train.steps=500 optimizer.lr=1e-3 --out run\n"
      "  fathom pretrain --recipe recipes/v3-671b.yaml --plan --devices 2048\n  fathom pretrain --out run --export model-now");
  return [flags, &common] { return RunPretrain(*flags, common); };
}

}  // namespace fathom
