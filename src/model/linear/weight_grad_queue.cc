#include "model/linear/weight_grad_queue.h"

#include <utility>

namespace fathom {
namespace {

thread_local std::shared_ptr<WeightGradQueue> current_queue;

}  // namespace

void WeightGradQueue::Push(std::function<void()> compute) {
  const std::lock_guard lock(mutex_);
  waiting_.push_back(std::move(compute));
}

void WeightGradQueue::Run() {
  std::vector<std::function<void()>> todo;
  {
    const std::lock_guard lock(mutex_);
    todo.swap(waiting_);
  }
  for (const auto& compute : todo) compute();
}

size_t WeightGradQueue::size() const {
  const std::lock_guard lock(mutex_);
  return waiting_.size();
}

WeightGradScope::WeightGradScope(std::shared_ptr<WeightGradQueue> queue) : outer_(std::move(current_queue)) { current_queue = std::move(queue); }
WeightGradScope::~WeightGradScope() { current_queue = std::move(outer_); }
std::shared_ptr<WeightGradQueue> WeightGradScope::Current() { return current_queue; }

}  // namespace fathom
