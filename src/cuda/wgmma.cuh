// Hopper's warpgroup products (PTX ISA, wgmma.mma_async): 64 x N sums in float32, A from shared memory or registers, B from shared memory.
// Tiles in shared memory have rows of 64 16-bit values (128 bytes) whose 16-byte chunks are exchanged by the row's number (the 128-byte swizzle that
// tensor maps write: chunk c of row r lies at c ^ (r & 7)), and begin at multiples of 1024 bytes. Wider matrices are several such tiles.
// Accumulator layout: warp w of the warpgroup, lane = 4 g + t: d[4 i + c] is row 16 w + g + 8 (c / 2), column 8 i + 2 t + c % 2.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace fathom::cuda {

// Where an operand lies: `base` is an address in shared memory in units of 16 bytes, `offset` is best a constant.
struct Operand {
  uint32_t base, offset;
};
// A (64 rows) or B (N rows) whose rows run along the summed dimension; 32 bytes further for every 16 values of the sum.
__device__ __forceinline__ Operand Rows(uint32_t base, uint32_t bytes) { return {base, bytes / 16 | 1u << 16}; }
// B whose rows are the summed dimension: columns 64 j .. 64 j + 63 lie in a tile of their own, `tile_bytes` after the one before. 2048 bytes (16 rows)
// further for every 16 values of the sum.
__device__ __forceinline__ Operand Columns(uint32_t base, uint32_t bytes, uint32_t tile_bytes) { return {base, bytes / 16 | tile_bytes / 16 << 16}; }

// Registers of an accumulator, or of A, may be touched again after WaitProducts; before the first product that reads what was written: FenceProducts.
__device__ __forceinline__ void FenceProducts() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void CommitProducts() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kPending>
__device__ __forceinline__ void WaitProducts() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
// Keeps the compiler from moving a use of these registers across this point.
template <int n>
__device__ __forceinline__ void HoldRegisters(float (&d)[n]) {
#pragma unroll
  for (int i = 0; i < n; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

#define FATHOM_REGISTERS_32 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, " \
  "%25, %26, %27, %28, %29, %30, %31"
#define FATHOM_REGISTERS_64 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, " \
  "%25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define FATHOM_REGISTERS_128 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, " \
  "%25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, %70, " \
  "%71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, " \
  "%94, %95, %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, " \
  "%114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define FATHOM_SUMS_8(d, i) \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define FATHOM_SUMS_32(d, i) FATHOM_SUMS_8(d, i), FATHOM_SUMS_8(d, i + 8), FATHOM_SUMS_8(d, i + 16), FATHOM_SUMS_8(d, i + 24)
#define FATHOM_SUMS_64(d, i) FATHOM_SUMS_32(d, i), FATHOM_SUMS_32(d, i + 32)
#define FATHOM_SUMS_128(d, i) FATHOM_SUMS_64(d, i), FATHOM_SUMS_64(d, i + 64)

// The matrix descriptor of operand `name`: 8 rows are 1024 bytes, 128-byte swizzle.
#define FATHOM_DESCRIPTOR(name, base, offset) \
  ".reg .b32 low_" name ";\n.reg .b64 " name ";\nadd.s32 low_" name ", %" base ", %" offset ";\nmov.b64 " name ", {low_" name ", high};\n"
#define FATHOM_PRODUCT_BEGIN(add) "{\n.reg .pred p;\nsetp.ne.b32 p, %" add ", 0;\n.reg .b32 high;\nmov.b32 high, 0x40000040;\n"

// d = (add ? d : 0) + A B of 16 values of the sum. kTransposed: B is given by Columns.
#define FATHOM_PRODUCTS(T, type, n, width, a0, a1, a2, a3, a4, a5, a6, a7)                                                             \
  template <int kTransposed>                                                                                                          \
  __device__ __forceinline__ void Product(Type16<T>, float (&d)[n], Operand a, Operand b, int add) {                                   \
    asm volatile(FATHOM_PRODUCT_BEGIN(a4) FATHOM_DESCRIPTOR("a", a0, a1) FATHOM_DESCRIPTOR("b", a2, a3)                                \
                 "wgmma.mma_async.sync.aligned.m64n" width "k16.f32." type "." type                                                    \
                 " {" FATHOM_REGISTERS_##n "}, a, b, p, 1, 1, 0, %" a5 ";\n}\n"                                                        \
                 : FATHOM_SUMS_##n(d, 0)                                                                                              \
                 : "r"(a.base), "r"(a.offset), "r"(b.base), "r"(b.offset), "r"(add), "n"(kTransposed));                               \
  }                                                                                                                                   \
  template <int kTransposed>                                                                                                          \
  __device__ __forceinline__ void Product(Type16<T>, float (&d)[n], const uint32_t (&a)[4], Operand b, int add) {                      \
    asm volatile(FATHOM_PRODUCT_BEGIN(a6) FATHOM_DESCRIPTOR("b", a4, a5)                                                               \
                 "wgmma.mma_async.sync.aligned.m64n" width "k16.f32." type "." type                                                    \
                 " {" FATHOM_REGISTERS_##n "}, {%" a0 ", %" a1 ", %" a2 ", %" a3 "}, b, p, 1, 1, %" a7 ";\n}\n"                        \
                 : FATHOM_SUMS_##n(d, 0)                                                                                              \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.base), "r"(b.offset), "r"(add), "n"(kTransposed));               \
  }
template <typename T>
struct Type16 {};
FATHOM_PRODUCTS(__nv_bfloat16, "bf16", 32, "64", "32", "33", "34", "35", "36", "37", "38", "39")
FATHOM_PRODUCTS(__nv_bfloat16, "bf16", 64, "128", "64", "65", "66", "67", "68", "69", "70", "71")
FATHOM_PRODUCTS(__nv_bfloat16, "bf16", 128, "256", "128", "129", "130", "131", "132", "133", "134", "135")
FATHOM_PRODUCTS(__half, "f16", 32, "64", "32", "33", "34", "35", "36", "37", "38", "39")
FATHOM_PRODUCTS(__half, "f16", 64, "128", "64", "65", "66", "67", "68", "69", "70", "71")
FATHOM_PRODUCTS(__half, "f16", 128, "256", "128", "129", "130", "131", "132", "133", "134", "135")
#undef FATHOM_PRODUCTS
#undef FATHOM_PRODUCT_BEGIN
#undef FATHOM_DESCRIPTOR

}  // namespace fathom::cuda
