#include "engine/grammar_budget.h"

#include <malloc.h>
#include <time.h>

#include <cstddef>
#include <new>
#include <stdexcept>
#include <string>

namespace fathom {
namespace {

thread_local GrammarBudget* budget_of_thread = nullptr;

double ThreadCpuSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

}  // namespace

GrammarBudget::GrammarBudget(double most_cpu_s, int64_t most_bytes)
    : deadline_(ThreadCpuSeconds() + most_cpu_s), bytes_left_(most_bytes), outer_(budget_of_thread) {
  budget_of_thread = this;
}

GrammarBudget::~GrammarBudget() { budget_of_thread = outer_; }

double GrammarBudget::cpu_s_left() const { return deadline_ - ThreadCpuSeconds(); }

GrammarBudget* GrammarBudget::OfThread() { return budget_of_thread; }

void GrammarBudget::Count(int64_t bytes) {
  bytes_left_ -= bytes;
  if (is_spent_) return;
  const bool is_late = ++num_calls_ % 64 == 0 && ThreadCpuSeconds() > deadline_;
  if (!is_late && bytes_left_ >= 0) return;
  is_spent_ = true;  // what is freed on the way out may allocate
  throw GrammarBudgetSpent{.is_time = is_late};
}

}  // namespace fathom

// What xgrammar's operator new and delete were renamed to.
extern "C" {

void fathom_grammar_delete(void* memory) noexcept {
  if (fathom::GrammarBudget* budget = fathom::GrammarBudget::OfThread(); budget != nullptr && memory != nullptr) {
    budget->Adjust(-static_cast<int64_t>(malloc_usable_size(memory)));
  }
  ::operator delete(memory);
}

void fathom_grammar_delete_sized(void* memory, std::size_t) noexcept { fathom_grammar_delete(memory); }

void* fathom_grammar_new(std::size_t size) {
  fathom::GrammarBudget* budget = fathom::GrammarBudget::OfThread();
  // Before it is had: one allocation alone may be too much.
  if (budget != nullptr) budget->Count(static_cast<int64_t>(size));
  void* memory = ::operator new(size);
  if (budget != nullptr) budget->Adjust(static_cast<int64_t>(malloc_usable_size(memory)) - static_cast<int64_t>(size));
  return memory;
}

}  // extern "C"

// xgrammar's errors; its warnings say nothing that a caller could use.
namespace xgrammar {

[[noreturn]] void LogFatalImpl(const std::string&, int, const std::string& message) { throw std::runtime_error(message); }
void LogMessageImpl(const std::string&, int, int, const std::string&) {}

}  // namespace xgrammar
