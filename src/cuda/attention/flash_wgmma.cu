#include "cuda/attention/flash_wgmma.cuh"

namespace fathom::cuda {
namespace {

using namespace flash_wgmma;

// Rows of heads: packed rows, or rows of a page and pages.
bool MakeMap(const AttentionParams& p, const void* base, int64_t width, int64_t heads, int64_t rows, int64_t pages, int64_t head_stride, int64_t row_stride,
             int64_t page_stride, CUtensorMap* map) {
  TileSource source;
  source.base = base;
  source.dtype = p.dtype;
  source.sizes[0] = width;
  source.sizes[1] = heads;
  source.sizes[2] = rows;
  source.sizes[3] = pages;
  source.strides[0] = head_stride;
  source.strides[1] = row_stride;
  source.strides[2] = page_stride;
  source.box[2] = 64;
  return MakeTensorMap(source, map);
}

template <typename T>
void LaunchShape(const AttentionParams& p, const Schedule& schedule, const Maps& maps, int num_processors, cudaStream_t stream) {
  if (p.dk == 64) return Launch<T, 64, 64>(p, schedule, maps, num_processors, stream);
  if (p.dk == 128) return Launch<T, 128, 128>(p, schedule, maps, num_processors, stream);
  Launch<T, 192, 128>(p, schedule, maps, num_processors, stream);
}

}  // namespace

bool LaunchFlashWgmma(const AttentionParams& p, int64_t key_rows, int32_t* counter, cudaStream_t stream) {
  const bool paged = p.page_table != nullptr;
  const int64_t rows = paged ? p.page_size : key_rows, pages = paged ? key_rows : 1;
  Maps maps;
  if (!MakeMap(p, p.q, p.dk, p.heads, p.tokens, 1, p.q_head_stride, p.q_token_stride, 0, &maps.q) ||
      !MakeMap(p, p.k.base, p.dk, p.kv_heads, rows, pages, p.k.head_stride, p.k.row_stride, p.k.page_stride, &maps.k) ||
      !MakeMap(p, p.v.base, p.dv, p.kv_heads, rows, pages, p.v.head_stride, p.v.row_stride, p.v.page_stride, &maps.v)) {
    return false;
  }
  int device = 0, num_processors = 1, cache_bytes = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&num_processors, cudaDevAttrMultiProcessorCount, device);
  cudaDeviceGetAttribute(&cache_bytes, cudaDevAttrL2CacheSize, device);
  const int64_t keys_a_sequence = paged ? static_cast<int64_t>(p.max_pages) * p.page_size : (key_rows + p.batch - 1) / p.batch;
  Schedule schedule;
  schedule.together = static_cast<int>(HeadsTogether(p.heads, p.kv_heads, keys_a_sequence, (p.dk + p.dv) * 2, cache_bytes));
  schedule.counter = counter;
  cudaMemsetAsync(counter, 0, sizeof(int32_t), stream);
  p.dtype == Dtype::kBf16 ? LaunchShape<__nv_bfloat16>(p, schedule, maps, num_processors, stream)
                          : LaunchShape<__half>(p, schedule, maps, num_processors, stream);
  return true;
}

}  // namespace fathom::cuda
