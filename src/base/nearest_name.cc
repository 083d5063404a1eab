#include "base/nearest_name.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <numeric>

namespace fathom {
namespace {

int64_t EditDistance(const std::string& a, const std::string& b) {
  std::vector<int64_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    int64_t diagonal = row[0];
    row[0] = static_cast<int64_t>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int64_t replaced = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string NearestName(const std::string& name, const std::vector<std::string>& names) {
  std::string best;
  const int64_t letters = std::ssize(name) - (name.rfind("--", 0) == 0 ? 2 : 0);
  int64_t best_distance = std::min<int64_t>(2, letters / 2) + 1;
  for (const std::string& candidate : names) {
    const int64_t distance = EditDistance(name, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace fathom
