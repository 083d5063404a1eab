// A progress bar on stderr, where that is a terminal; elsewhere it prints nothing.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace fathom {

class ProgressBar {
 public:
  // `shown` false: nothing is printed on a terminal either.
  ProgressBar(std::string label, int64_t total, bool shown);
  ~ProgressBar();  // clears its line
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  // At most ten times a second it is drawn: "label [=====>    ] 52%  note".
  void Update(int64_t done, const std::string& note);

 private:
  std::string label_;
  int64_t total_;
  bool shown_, drawn_ = false;
  std::chrono::steady_clock::time_point last_{};
};

}  // namespace fathom
