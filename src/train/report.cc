#include "train/report.h"

#include <fmt/format.h>

#include <map>
#include <string>
#include <vector>

#include "base/file.h"
#include "train/json_lines.h"
#include "train/line_chart.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

struct Chart {
  const char* title;
  std::vector<std::pair<const char*, const char*>> curves;  // (key in log.jsonl, name)
};

const std::vector<Chart>& Charts() {
  static const std::vector<Chart> charts = {
      {"loss", {{"loss", "next token"}, {"mtp_loss", "second token"}, {"eval_loss", "held out"}}},
      {"bits per byte of held-out text", {{"bits_per_byte", ""}}},
      {"learning rate", {{"lr", ""}}},
      {"norm of the gradients", {{"grad_norm", ""}}},
      {"tokens a second", {{"tokens_per_s", ""}}},
      {"utilisation of the experts", {{"utilisation", "mean"}, {"worst_utilisation", "worst layer"}}},
      {"largest load over mean load", {{"max_over_mean", "worst layer"}}},
      {"router biases", {{"bias_min", "least"}, {"bias_max", "largest"}}},
      {"second tokens that the MTP module guesses", {{"mtp_acceptance", ""}}},
      {"dropped choices", {{"dropped", ""}}},
  };
  return charts;
}

bool IsAllZero(const Curve& curve) {
  for (const auto& [x, y] : curve.points) {
    if (y != 0) return false;
  }
  return true;
}

std::string ChartsOf(const std::vector<Json>& log) {
  std::string html;
  for (const Chart& chart : Charts()) {
    std::vector<Curve> curves;
    for (const auto& [key, name] : chart.curves) {
      Curve curve{name, {}};
      for (const Json& line : log) {
        const auto found = line.find(key);
        if (found != line.end() && found->is_number()) curve.points.emplace_back(line.value("step", 0.0), found->get<double>());
      }
      if (!IsAllZero(curve)) curves.push_back(std::move(curve));
    }
    html += LineChart(chart.title, curves);
  }
  return html;
}

// Loads of the last tenth of the run, over their means.
std::string LoadMap(const std::vector<Json>& loads, double last_step) {
  std::vector<std::vector<double>> sums;
  for (const Json& line : loads) {
    if (line.value("step", 0.0) <= 0.9 * last_step) continue;
    const Json& layers = line.at("counts");
    sums.resize(std::max(sums.size(), layers.size()));
    for (size_t layer = 0; layer < layers.size(); ++layer) {
      sums[layer].resize(layers[layer].size());
      for (size_t e = 0; e < layers[layer].size(); ++e) sums[layer][e] += layers[layer][e].get<double>();
    }
  }
  if (sums.empty()) return "";
  std::vector<std::pair<std::string, std::vector<double>>> rows;
  for (size_t layer = 0; layer < sums.size(); ++layer) {
    double total = 0;
    for (const double count : sums[layer]) total += count;
    for (double& count : sums[layer]) count *= total > 0 ? static_cast<double>(sums[layer].size()) / total : 0;
    rows.emplace_back(fmt::format("mixture {}", layer), sums[layer]);
  }
  return "<h2>Load of each expert over the last tenth</h2><p>A row a mixture, a cell an expert: white is the mean load, red more (full at twice), blue less (full at none).</p>" +
         HeatMap(rows);
}

std::string SamplesOf(const std::vector<Json>& samples) {
  if (samples.empty()) return "";
  std::map<std::string, std::string> of_prompt;
  for (const Json& line : samples) {
    of_prompt[line.value("prompt", "")] +=
        fmt::format("<tr><td>{}</td><td><pre><b>{}</b>{}</pre></td></tr>\n", line.value("step", 0), EscapeHtml(line.value("prompt", "")), EscapeHtml(line.value("text", "")));
  }
  std::string html = "<h2>Prompts continued as training went on</h2>\n";
  for (const auto& [prompt, rows] : of_prompt) html += "<table>\n<tr><th>step</th><th>text</th></tr>\n" + rows + "</table>\n";
  return html;
}

}  // namespace

void WriteReport(const fs::path& dir) {
  const std::vector<Json> log = ReadJsonLines(dir / "log.jsonl");
  const double last_step = log.empty() ? 0 : log.back().value("step", 0.0);
  std::error_code error;
  const std::string recipe = fs::exists(dir / "recipe.yaml", error) ? ReadFile(dir / "recipe.yaml") : "";
  std::string html =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Training run</title>\n<style>body{font:14px sans-serif;margin:24px;max-width:1180px}"
      "svg{margin:4px}table{border-collapse:collapse;margin:8px 0}td,th{border:1px solid #ddd;padding:3px 8px;vertical-align:top;text-align:left}"
      "pre{margin:0;white-space:pre-wrap}</style></head>\n<body>\n";
  if (log.empty()) {
    html += "<h1>A run without a step</h1>\n";
  } else {
    html += fmt::format("<h1>{:.0f} steps, {:.3f}M tokens: loss {:.4f}</h1>\n", last_step, log.back().value("tokens", 0.0) / 1e6, log.back().value("loss", 0.0));
  }
  html += ChartsOf(log) + LoadMap(ReadJsonLines(dir / "expert_load.jsonl"), last_step) + SamplesOf(ReadJsonLines(dir / "samples.jsonl"));
  html += "<h2>Recipe</h2>\n<pre>" + EscapeHtml(recipe) + "</pre>\n</body></html>\n";
  WriteFileAtomically(dir / "report.html", html);
}

}  // namespace fathom
