// A pipeline whose results come out in the order of its inputs, whatever the number of threads.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace fathom {

// produce() -> optional<Item> runs on a thread of its own until it gives nothing; work(item, thread_idx) -> Result on num_threads threads; consume(result)
// on the caller's, in the order of production. At most 4 * num_threads items are on their way. The first exception of any of them ends all and comes out.
template <typename Produce, typename Work, typename Consume>
void RunOrdered(int num_threads, Produce produce, Work work, Consume consume) {
  using Item = typename decltype(produce())::value_type;
  using Result = decltype(work(std::declval<Item&&>(), 0));
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::pair<size_t, Item>> waiting;
  std::map<size_t, Result> done;
  size_t num_produced = 0, num_consumed = 0;
  bool ended = false, failed = false;
  std::exception_ptr error;
  const auto fail = [&] {
    const std::lock_guard lock(mutex);
    if (!failed) error = std::current_exception();
    failed = true;
    changed.notify_all();
  };
  const auto run_producer = [&] {
    try {
      while (true) {
        std::optional<Item> item = produce();
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return failed || num_produced - num_consumed < 4 * static_cast<size_t>(num_threads); });
        if (failed) return;
        if (item) waiting.emplace_back(num_produced++, std::move(*item));
        else ended = true;
        changed.notify_all();
        if (ended) return;
      }
    } catch (...) {
      fail();
    }
  };
  const auto run_worker = [&](int thread_idx) {
    try {
      while (true) {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return failed || ended || !waiting.empty(); });
        if (failed || waiting.empty()) return;
        auto [index, item] = std::move(waiting.front());
        waiting.pop_front();
        lock.unlock();
        Result result = work(std::move(item), thread_idx);
        lock.lock();
        done.emplace(index, std::move(result));
        changed.notify_all();
      }
    } catch (...) {
      fail();
    }
  };
  std::vector<std::jthread> threads;
  threads.emplace_back(run_producer);
  for (int i = 0; i < num_threads; ++i) threads.emplace_back(run_worker, i);
  try {
    while (true) {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return failed || done.contains(num_consumed) || (ended && num_consumed == num_produced); });
      if (failed || !done.contains(num_consumed)) break;
      auto node = done.extract(num_consumed);
      lock.unlock();
      consume(std::move(node.mapped()));
      lock.lock();
      ++num_consumed;
      changed.notify_all();
    }
  } catch (...) {
    fail();
  }
  threads.clear();  // joins
  if (error != nullptr) std::rethrow_exception(error);
}

}  // namespace fathom
