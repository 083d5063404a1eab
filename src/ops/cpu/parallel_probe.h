// Whether this folder was compiled so that at::parallel_for runs on more than one thread.
#pragma once

namespace fathom::ops {

// The number of different threads that one at::parallel_for of this folder runs on: at::get_num_threads() when the folder was
// compiled with -fopenmp, 1 when it was not.
int CountParallelThreads();

}  // namespace fathom::ops
