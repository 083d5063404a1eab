#include "train/line_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace fathom {
namespace {

constexpr double kWidth = 560, kHeight = 240, kLeft = 58, kRight = 12, kTop = 30, kBottom = 26;
constexpr size_t kMostPoints = 400;
constexpr std::array<const char*, 6> kColours = {"#2458c5", "#d0582a", "#2a8f4d", "#8a4fc0", "#b8902a", "#3a9aa8"};

std::vector<std::pair<double, double>> Thin(const std::vector<std::pair<double, double>>& points) {
  std::vector<std::pair<double, double>> finite, means;
  for (const auto& point : points) {
    if (std::isfinite(point.first) && std::isfinite(point.second)) finite.push_back(point);
  }
  if (finite.size() <= kMostPoints) return finite;
  for (size_t i = 0; i < kMostPoints; ++i) {
    const size_t begin = i * finite.size() / kMostPoints, end = (i + 1) * finite.size() / kMostPoints;
    double x = 0, y = 0;
    for (size_t at = begin; at < end; ++at) {
      x += finite[at].first;
      y += finite[at].second;
    }
    const double count = static_cast<double>(end - begin);
    means.emplace_back(x / count, y / count);
  }
  return means;
}

struct Axis {
  double least = std::numeric_limits<double>::infinity(), most = -std::numeric_limits<double>::infinity();
  void Take(double value) {
    least = std::min(least, value);
    most = std::max(most, value);
  }
  // About four round numbers between least and most.
  std::vector<double> Ticks() const {
    const double span = most - least, raw = span / 4, power = std::pow(10, std::floor(std::log10(raw)));
    const double step = power * (raw / power < 1.5 ? 1 : raw / power < 3.5 ? 2 : raw / power < 7.5 ? 5 : 10);
    std::vector<double> ticks;
    for (double tick = std::ceil(least / step) * step; tick <= most + 1e-9 * span; tick += step) ticks.push_back(std::abs(tick) < 1e-12 * span ? 0 : tick);
    return ticks;
  }
};

}  // namespace

std::string LineChart(const std::string& title, const std::vector<Curve>& curves) {
  Axis x, y;
  std::vector<std::vector<std::pair<double, double>>> lines;
  for (const Curve& curve : curves) {
    lines.push_back(Thin(curve.points));
    for (const auto& [at, value] : lines.back()) {
      x.Take(at);
      y.Take(value);
    }
  }
  if (!(x.most >= x.least)) return "";
  if (x.most == x.least) x.most += 1;
  if (y.most == y.least) y.most += std::max(1e-6, std::abs(y.least) * 0.1);
  const auto to_x = [&](double at) { return kLeft + (at - x.least) / (x.most - x.least) * (kWidth - kLeft - kRight); };
  const auto to_y = [&](double value) { return kHeight - kBottom - (value - y.least) / (y.most - y.least) * (kHeight - kTop - kBottom); };
  std::string svg = fmt::format("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" font-family=\"sans-serif\" font-size=\"11\">"
                                "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/><text x=\"{2}\" y=\"14\" font-weight=\"bold\">{3}</text>",
                                kWidth, kHeight, kLeft, EscapeHtml(title));
  for (const double tick : y.Ticks()) {
    svg += fmt::format("<line x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\" stroke=\"#ddd\"/><text x=\"{3}\" y=\"{4:.1f}\" text-anchor=\"end\">{5:.4g}</text>", kLeft,
                       kWidth - kRight, to_y(tick), kLeft - 5, to_y(tick) + 4, tick);
  }
  for (const double tick : x.Ticks()) {
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{:.6g}</text>", to_x(tick), kHeight - 8, tick);
  }
  double legend = kWidth - kRight;
  for (size_t i = lines.size(); i-- > 0;) {
    if (lines[i].empty()) continue;
    const char* colour = kColours[i % kColours.size()];
    std::string path;
    for (const auto& [at, value] : lines[i]) path += fmt::format("{}{:.1f},{:.1f}", path.empty() ? "M" : "L", to_x(at), to_y(value));
    svg += fmt::format("<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.4\"/>", path, colour);
    const std::string label = fmt::format("{} {:.4g}", curves[i].name, lines[i].back().second);
    svg += fmt::format("<text x=\"{:.0f}\" y=\"14\" text-anchor=\"end\" fill=\"{}\">{}</text>", legend, colour, EscapeHtml(label));
    legend -= 7.0 * static_cast<double>(label.size()) + 10;
  }
  return svg + "</svg>\n";
}

std::string HeatMap(const std::vector<std::pair<std::string, std::vector<double>>>& rows) {
  size_t most = 1;
  for (const auto& [name, values] : rows) most = std::max(most, values.size());
  const double cell = std::clamp(900.0 / static_cast<double>(most), 3.0, 18.0), left = 74;
  std::string svg = fmt::format("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} {1:.0f}\" font-family=\"sans-serif\" font-size=\"11\">",
                                left + cell * static_cast<double>(most) + 2, 18 * static_cast<double>(rows.size()) + 2);
  for (size_t r = 0; r < rows.size(); ++r) {
    const double top = 18 * static_cast<double>(r);
    svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>", left - 6, top + 13, EscapeHtml(rows[r].first));
    for (size_t e = 0; e < rows[r].second.size(); ++e) {
      const double value = rows[r].second[e], off = std::clamp(value - 1, -1.0, 1.0);
      const int fade = static_cast<int>(std::lround(255 * (1 - std::abs(off))));
      const std::string colour = off > 0 ? fmt::format("rgb(255,{0},{0})", fade) : fmt::format("rgb({0},{0},255)", fade);
      svg += fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"17\" fill=\"{}\" stroke=\"#eee\" stroke-width=\"0.5\"><title>expert {}: {:.3f}</title></rect>",
                         left + cell * static_cast<double>(e), top, cell, colour, e, value);
    }
  }
  return svg + "</svg>\n";
}

std::string EscapeHtml(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

}  // namespace fathom
