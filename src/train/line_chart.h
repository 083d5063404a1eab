// Curves as SVG.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace fathom {

struct Curve {
  std::string name;
  std::vector<std::pair<double, double>> points;  // (x, y), x rising; what is not finite is left out
};

// An <svg> element of 560 x 240 with axes, a grid, a line a curve in colours of their own, and their names and last values. Long curves are drawn as the means of
// at most 400 stretches. "" where no curve has a point.
std::string LineChart(const std::string& title, const std::vector<Curve>& curves);

// A heat map: a row a line of `rows`, coloured by value / 1 (white: 1, blue: less, red: more, full colour at 0 and 2), with the value as a tooltip.
std::string HeatMap(const std::vector<std::pair<std::string, std::vector<double>>>& rows);

// For text between tags.
std::string EscapeHtml(const std::string& text);

}  // namespace fathom
