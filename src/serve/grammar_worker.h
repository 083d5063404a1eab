// Grammars are compiled on a thread of their own: neither the engine's steps nor the connections' threads wait for one.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/grammar.h"
#include "serve/served_model.h"

namespace fathom {

class GrammarWorker {
 public:
  // What came of it: a grammar, or an error.
  using Done = std::function<void(std::shared_ptr<const Grammar>, std::exception_ptr)>;

  explicit GrammarWorker(const ServedModel& model);
  // Waits for the one under way; those that wait are dropped.
  ~GrammarWorker();
  // `done` is called on the worker's thread and must not throw. False: too many wait already.
  bool Compile(std::vector<std::string> parts, Done done);

  // A request may hold the worker this long; a common schema takes some milliseconds.
  static constexpr GrammarLimits kLimits = {.most_text_bytes = 1 << 20, .most_cpu_s = 5, .most_bytes = 512 << 20, .most_cached_bytes = 256 << 20};
  static constexpr size_t kMostWaiting = 64;

 private:
  void Run();

  const ServedModel& model_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<std::pair<std::vector<std::string>, Done>> waiting_;
  bool is_over_ = false;
  std::thread thread_;
};

}  // namespace fathom
