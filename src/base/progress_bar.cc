#include "base/progress_bar.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace fathom {

ProgressBar::ProgressBar(std::string label, int64_t total, bool shown)
    : label_(std::move(label)), total_(total), shown_(shown && ::isatty(STDERR_FILENO) != 0) {}

ProgressBar::~ProgressBar() {
  if (drawn_) std::fputs("\r\033[K", stderr);
}

void ProgressBar::Update(int64_t done, const std::string& note) {
  if (!shown_) return;
  const auto now = std::chrono::steady_clock::now();
  if (drawn_ && now - last_ < std::chrono::milliseconds(100)) return;
  constexpr int kWidth = 30;
  const double share = total_ > 0 ? std::clamp(static_cast<double>(done) / static_cast<double>(total_), 0.0, 1.0) : 0;
  const int filled = static_cast<int>(share * kWidth);
  const std::string bar = std::string(static_cast<size_t>(filled), '=') + std::string(static_cast<size_t>(kWidth - filled), ' ');
  std::fputs(fmt::format("\r{} [{}] {:3.0f}%  {}\033[K", label_, bar, share * 100, note).c_str(), stderr);
  std::fflush(stderr);
  drawn_ = true;
  last_ = now;
}

}  // namespace fathom
