#include "ops/cpu/parallel_probe.h"

#include <ATen/Parallel.h>

#include <mutex>
#include <set>
#include <thread>

namespace fathom::ops {

int CountParallelThreads() {
  std::mutex mutex;
  std::set<std::thread::id> ids;
  at::parallel_for(0, at::get_num_threads(), 1, [&](int64_t, int64_t) {
    const std::lock_guard lock(mutex);
    ids.insert(std::this_thread::get_id());
  });
  return static_cast<int>(ids.size());
}

}  // namespace fathom::ops
