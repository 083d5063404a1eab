// An end to what a grammar from outside may cost. xgrammar cannot be interrupted, but it allocates all the time: its allocations come to functions of
// this file (cmake/xgrammar.cmake), which throw once the thread's budget is spent.
#pragma once

#include <cstdint>

namespace fathom {

// Thrown out of xgrammar's code. Not a std::exception, so that nothing in there takes it for one of its own.
struct GrammarBudgetSpent {
  bool is_time = false;  // else memory
};

// While it lives, xgrammar's code on this thread may use so much of the processor's time and hold so many bytes more than before.
class GrammarBudget {
 public:
  GrammarBudget(double most_cpu_s, int64_t most_bytes);
  ~GrammarBudget();
  GrammarBudget(const GrammarBudget&) = delete;
  GrammarBudget& operator=(const GrammarBudget&) = delete;

  // Counts bytes that are about to be had. Throws GrammarBudgetSpent, once.
  void Count(int64_t bytes);
  // The same without a throw; below 0: given back.
  void Adjust(int64_t bytes) { bytes_left_ -= bytes; }
  int64_t bytes_left() const { return bytes_left_; }
  double cpu_s_left() const;
  static GrammarBudget* OfThread();

 private:
  double deadline_;  // of the thread's processor time
  int64_t bytes_left_;
  uint32_t num_calls_ = 0;
  bool is_spent_ = false;
  GrammarBudget* outer_;
};

}  // namespace fathom
