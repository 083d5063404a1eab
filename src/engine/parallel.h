// Independent pieces of work on LibTorch's threads.
#pragma once

#include <functional>
#include <vector>

namespace fathom {

// Runs each once; they must not throw.
void RunInParallel(const std::vector<std::function<void()>>& work);

}  // namespace fathom
