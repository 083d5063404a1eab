// Hopper's bulk copies of tiles described by a tensor map, the barriers in shared memory that they complete on, and the barriers between warpgroups.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace fathom::cuda {

// A barrier (8 bytes, by its shared address) completes a phase after `count` arrivals and the bytes expected; a wait names the phase's parity: 0, 1, 0 ..
__device__ __forceinline__ void InitBarrier(uint32_t barrier, int count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count));
}
// After the inits, before the block's barrier that shows them to the others.
__device__ __forceinline__ void FenceBarrierInit() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
__device__ __forceinline__ void ExpectBytes(uint32_t barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
__device__ __forceinline__ void Arrive(uint32_t barrier) { asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory"); }
__device__ __forceinline__ void WaitBarrier(uint32_t barrier, uint32_t parity) {
  asm volatile(
      "{\n.reg .pred done;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n@done bra.uni over;\nbra.uni again;\nover:\n}\n" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

__device__ __forceinline__ void PrefetchMap(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(reinterpret_cast<uint64_t>(map)) : "memory");
}
// The box at the given coordinates (innermost first) to shared memory; its bytes count on the barrier. Outside the tensor it is zeros.
__device__ __forceinline__ void CopyBox(uint32_t shared, const CUtensorMap* map, uint32_t barrier, int x, int y, int z, int w) {
  asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(shared),
               "l"(reinterpret_cast<uint64_t>(map)), "r"(barrier), "r"(x), "r"(y), "r"(z), "r"(w)
               : "memory");
}

// Asks for the box in L2.
__device__ __forceinline__ void PrefetchBox(const CUtensorMap* map, int x, int y, int z, int w) {
  asm volatile("cp.async.bulk.prefetch.tensor.4d.L2.global.tile [%0, {%1, %2, %3, %4}];" ::"l"(reinterpret_cast<uint64_t>(map)), "r"(x), "r"(y), "r"(z), "r"(w)
               : "memory");
}

// Makes this thread's writes to shared memory visible to wgmma and bulk copies that start after the next barrier.
__device__ __forceinline__ void FenceSharedWrites() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Barriers between warpgroups, by number (0 is __syncthreads'): `threads` of them arrive, those that Sync wait.
__device__ __forceinline__ void SyncWarpgroups(int number, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory"); }
__device__ __forceinline__ void ArriveWarpgroups(int number, int threads) { asm volatile("bar.arrive %0, %1;" ::"r"(number), "r"(threads) : "memory"); }

// Registers that the threads of this warpgroup give back, or take.
template <int kRegisters>
__device__ __forceinline__ void ReleaseRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void TakeRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

}  // namespace fathom::cuda
