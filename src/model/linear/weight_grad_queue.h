// Weight gradients that wait: zero-bubble and DualPipe schedules need the gradient of the input first and fill their bubbles with the weights'.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace fathom {

// Filled by the backward of Linears and GroupedLinears whose forward ran under a WeightGradScope of this queue. Safe from several threads.
class WeightGradQueue {
 public:
  void Push(std::function<void()> compute);
  // Computes what waits, in the order of arrival, adding to each leaf's grad.
  void Run();
  size_t size() const;

 private:
  mutable std::mutex mutex_;
  std::vector<std::function<void()>> waiting_;
};

// While it lives, forwards of this thread hand their weight gradients to `queue`.
class WeightGradScope {
 public:
  explicit WeightGradScope(std::shared_ptr<WeightGradQueue> queue);
  ~WeightGradScope();
  WeightGradScope(const WeightGradScope&) = delete;
  WeightGradScope& operator=(const WeightGradScope&) = delete;
  // The innermost scope's queue of this thread, or null.
  static std::shared_ptr<WeightGradQueue> Current();

 private:
  std::shared_ptr<WeightGradQueue> outer_;
};

}  // namespace fathom
