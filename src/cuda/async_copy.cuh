// Copies to shared memory that a thread does not wait for (Ampere and later), for data that the thread itself reads again.
#pragma once

#include <cstdint>

namespace fathom::cuda {

// 16 bytes of device memory to shared memory, both addresses multiples of 16.
__device__ __forceinline__ void CopyAhead(uint4* shared, const void* source) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(static_cast<uint32_t>(__cvta_generic_to_shared(shared))), "l"(source) : "memory");
}

// Closes a group of copies begun by this thread (an empty one too).
__device__ __forceinline__ void EndCopyGroup() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until all but the thread's last kPending groups have come.
template <int kPending>
__device__ __forceinline__ void WaitCopyGroups() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

}  // namespace fathom::cuda
