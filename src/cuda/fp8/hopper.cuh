// Hopper's asynchronous machinery in PTX: barriers in shared memory, tensor copies, and FP8 products of a warpgroup
// (PTX ISA 8.x: mbarrier, cp.async.bulk.tensor, wgmma).
#pragma once

#include <cuda.h>

#include <cstdint>

namespace fathom::cuda::hopper {

__device__ __forceinline__ uint32_t SharedAddress(const void* pointer) { return static_cast<uint32_t>(__cvta_generic_to_shared(pointer)); }

__device__ __forceinline__ uint32_t ClusterRank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

// Every thread of every block of the cluster.
__device__ __forceinline__ void ClusterSync() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}

__device__ __forceinline__ void InitBarrier(uint32_t barrier, int count) { asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count)); }
// Makes initialised barriers visible to the cluster and to the copy engine.
__device__ __forceinline__ void FenceBarrierInit() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

__device__ __forceinline__ void Wait(uint32_t barrier, uint32_t phase) {
  asm volatile(
      "{\n.reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra end;\n"
      "bra again;\n"
      "end:\n}" ::"r"(barrier),
      "r"(phase)
      : "memory");
}
__device__ __forceinline__ void Arrive(uint32_t barrier) { asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory"); }
__device__ __forceinline__ void ArriveExpecting(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
// Arrives at the barrier of the same address in block `rank` of the cluster, without ordering this thread's writes for that block (the order would cost a
// fence of the whole device).
__device__ __forceinline__ void ArriveAt(uint32_t barrier, uint32_t rank) {
  asm volatile(
      "{\n.reg .b32 there;\n"
      "mapa.shared::cluster.u32 there, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [there];\n}" ::"r"(barrier),
      "r"(rank)
      : "memory");
}

__device__ __forceinline__ void PrefetchMap(const CUtensorMap* map) { asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory"); }

// A box at (x, y) of the map to shared memory; its bytes count at the barrier.
__device__ __forceinline__ void CopyBox(uint32_t shared, const CUtensorMap* map, uint32_t barrier, int x, int y) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(shared), "l"(map), "r"(barrier),
               "r"(x), "r"(y)
               : "memory");
}
// The same into every block of the cluster that `mask` names, at the same addresses.
__device__ __forceinline__ void CopyBoxToAll(uint32_t shared, const CUtensorMap* map, uint32_t barrier, int x, int y, uint16_t mask) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%3, %4}], [%2], %5;" ::"r"(shared), "l"(map),
      "r"(barrier), "r"(x), "r"(y), "h"(mask)
      : "memory");
}

// Rows of 128 bytes in the 128-byte swizzle, 8 rows 1024 bytes apart from the next 8. `shared` lies on a multiple of 1024 (plus the offset within a row).
__device__ __forceinline__ uint64_t MatrixDescriptor(uint32_t shared) {
  return static_cast<uint64_t>((shared & 0x3ffff) >> 4) | (uint64_t{1} << 16) | (uint64_t{1024 >> 4} << 32) | (uint64_t{1} << 62);
}

#define FATHOM_R4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define FATHOM_R16(i) FATHOM_R4(i), FATHOM_R4(i + 4), FATHOM_R4(i + 8), FATHOM_R4(i + 12)
// d (64 x 128, float32) = a (64 x 32) b (128 x 32)^T + (accumulate ? d : 0), by the four warps together. Thread t holds rows t / 32 * 16 + t % 32 / 4 (+ 8) and
// columns 8 i + t % 4 * 2 (+ 1) in d[4 i ..]: (row, column), (row, column + 1), (row + 8, column), (row + 8, column + 1).
__device__ __forceinline__ void ProductE4m3(float (&d)[64], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, "
      "%62, %63}, %64, %65, p, 1, 1;\n}"
      : FATHOM_R16(0), FATHOM_R16(16), FATHOM_R16(32), FATHOM_R16(48)
      : "l"(a), "l"(b), "r"(accumulate));
}
#undef FATHOM_R16
#undef FATHOM_R4

__device__ __forceinline__ void BeginProducts() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void CommitProducts() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kPending>
__device__ __forceinline__ void WaitProducts() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
// Keeps the compiler from moving uses of the registers across the asynchronous product.
__device__ __forceinline__ void HoldRegister(float& value) { asm volatile("" : "+f"(value)::"memory"); }

template <int kRegisters>
__device__ __forceinline__ void GrowRegisters() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters)); }
template <int kRegisters>
__device__ __forceinline__ void ShrinkRegisters() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters)); }

// Four 8x8 matrices of 16-bit values to shared memory; lane i gives the row address of row i % 8 of matrix i / 8.
__device__ __forceinline__ void StoreMatrix4(uint32_t address, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
}

}  // namespace fathom::cuda::hopper
