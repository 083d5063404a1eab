// Memory that one thread keeps between calls of an operator.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>

#include "base/error.h"

namespace fathom::ops {

class ScratchMemory {
 public:
  // At least `bytes`, aligned to 64; what it held before is lost.
  char* Reserve(int64_t bytes) {
    constexpr int64_t kAlignment = 64;
    if (bytes > size_) {
      const int64_t size = (bytes + kAlignment - 1) / kAlignment * kAlignment;
      memory_.reset(static_cast<char*>(std::aligned_alloc(kAlignment, static_cast<size_t>(size))));
      size_ = memory_ != nullptr ? size : 0;
      if (memory_ == nullptr) ThrowMachineError("no memory for {} bytes of scratch", size);
    }
    return memory_.get();
  }

 private:
  struct Free {
    void operator()(char* p) const { std::free(p); }
  };
  std::unique_ptr<char, Free> memory_;
  int64_t size_ = 0;
};

}  // namespace fathom::ops
