// Rows in parallel, without the cost of a parallel region when one thread does.
#pragma once

#include <ATen/Parallel.h>

#include <atomic>
#include <cstdint>

namespace fathom::ops {

// f(begin, end) over [0, rows), each part at least `grain` rows.
template <typename F>
void ParallelRows(int64_t rows, int64_t grain, const F& f) {
  if (rows <= grain) {
    if (rows > 0) f(int64_t{0}, rows);
    return;
  }
  at::parallel_for(0, rows, grain, f);
}

// f(task) for each task of [0, num_tasks); threads take the next task as they become free, so tasks may differ in size.
// What a task computes must not depend on the thread that runs it.
template <typename F>
void ParallelTasks(int64_t num_tasks, const F& f) {
  const int64_t num_threads = at::in_parallel_region() ? 1 : at::get_num_threads();
  if (num_tasks <= 1 || num_threads <= 1) {
    for (int64_t task = 0; task < num_tasks; ++task) f(task);
    return;
  }
  std::atomic<int64_t> next{0};
  at::parallel_for(0, num_threads, 1, [&](int64_t, int64_t) {
    for (int64_t task = next.fetch_add(1); task < num_tasks; task = next.fetch_add(1)) f(task);
  });
}

}  // namespace fathom::ops
