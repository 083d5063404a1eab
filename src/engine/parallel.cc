#include "engine/parallel.h"

#include <ATen/Parallel.h>

namespace fathom {

void RunInParallel(const std::vector<std::function<void()>>& work) {
  at::parallel_for(0, static_cast<int64_t>(work.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) work[static_cast<size_t>(i)]();
  });
}

}  // namespace fathom
