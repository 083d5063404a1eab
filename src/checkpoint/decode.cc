// From the bytes of a file to float32, bfloat16 or float16 rows.
#include <ATen/ops/empty.h>
#include <c10/core/ScalarType.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Float8_e4m3fn.h>
#include <c10/util/Float8_e5m2.h>
#include <c10/util/Float8_e8m0fnu.h>
#include <c10/util/Half.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "checkpoint/dtype_names.h"
#include "checkpoint/ggml_blocks.h"
#include "checkpoint/narrow.h"
#include "checkpoint/tensor_file.h"

namespace fathom {
namespace {

// Values decoded at a time: a multiple of every block size, small enough for the first-level cache.
constexpr int64_t kChunk = 4096;

template <typename T>
void Widen(const std::byte* in, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    T value;
    std::memcpy(&value, in + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
    out[i] = static_cast<float>(value);
  }
}

// Float8 has 256 values: a table made once.
template <typename T>
void WidenByte(const std::byte* in, int64_t n, float* out) {
  static const std::array<float, 256> kTable = [] {
    std::array<float, 256> table{};
    for (int i = 0; i < 256; ++i) table[i] = static_cast<float>(T(static_cast<uint8_t>(i), T::from_bits()));
    return table;
  }();
  for (int64_t i = 0; i < n; ++i) out[i] = kTable[std::to_integer<uint8_t>(in[i])];
}

void WidenBool(const std::byte* in, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = in[i] == std::byte{0} ? 0.f : 1.f;
}

void ToFloat(at::ScalarType dtype, const std::byte* in, int64_t n, float* out) {
  switch (dtype) {
    case at::kFloat: std::memcpy(out, in, static_cast<size_t>(n) * 4); return;
    case at::kDouble: return Widen<double>(in, n, out);
    case at::kHalf: return Widen<c10::Half>(in, n, out);
    case at::kBFloat16: return Widen<c10::BFloat16>(in, n, out);
    case at::kFloat8_e4m3fn: return WidenByte<c10::Float8_e4m3fn>(in, n, out);
    case at::kFloat8_e5m2: return WidenByte<c10::Float8_e5m2>(in, n, out);
    case at::kFloat8_e8m0fnu: return WidenByte<c10::Float8_e8m0fnu>(in, n, out);
    case at::kBool: return WidenBool(in, n, out);
    case at::kByte: return Widen<uint8_t>(in, n, out);
    case at::kChar: return Widen<int8_t>(in, n, out);
    case at::kShort: return Widen<int16_t>(in, n, out);
    case at::kUInt16: return Widen<uint16_t>(in, n, out);
    case at::kInt: return Widen<int32_t>(in, n, out);
    case at::kUInt32: return Widen<uint32_t>(in, n, out);
    case at::kLong: return Widen<int64_t>(in, n, out);
    case at::kUInt64: return Widen<uint64_t>(in, n, out);
    default: FATHOM_CHECK(false, "dtype {} cannot be decoded", c10::toString(dtype));
  }
}

// Round to nearest even; NaN stays NaN. Branch-free so that compilers vectorise it.
void NarrowToBFloat16(const float* in, int64_t n, uint16_t* out) {
  for (int64_t i = 0; i < n; ++i) {
    uint32_t bits;
    std::memcpy(&bits, in + i, 4);
    const uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
    out[i] = static_cast<uint16_t>((bits & 0x7FFFFFFFu) > 0x7F800000u ? 0x7FC0u : rounded);
  }
}

at::ScalarType ValueType(const TensorEntry& entry) {
  if (!entry.is_ggml_block) return entry.dtype;
  if (entry.ggml == GgmlType::kF32) return at::kFloat;
  if (entry.ggml == GgmlType::kF16) return at::kHalf;
  if (entry.ggml == GgmlType::kBF16) return at::kBFloat16;
  return at::ScalarType::Undefined;  // blocks
}

// Copies the values [begin, begin + n) of a strided view, counted in its own order, into `out` (elements of `size` bytes).
void GatherStrided(const TensorEntry& entry, int64_t begin, int64_t n, size_t size, std::byte* out) {
  const size_t num_dims = entry.shape.size();
  std::vector<int64_t> place(num_dims);
  int64_t rest = begin, offset = 0;
  for (size_t d = num_dims; d-- > 0;) {
    place[d] = rest % entry.shape[d];
    rest /= entry.shape[d];
    offset += place[d] * entry.strides[d];
  }
  for (int64_t i = 0; i < n; ++i) {
    std::memcpy(out + static_cast<size_t>(i) * size, entry.bytes.data() + static_cast<size_t>(offset) * size, size);
    for (size_t d = num_dims; d-- > 0;) {
      offset += entry.strides[d];
      if (++place[d] < entry.shape[d]) break;
      offset -= place[d] * entry.strides[d];
      place[d] = 0;
    }
  }
}

// Bytes of rows [row0, row1) of an entry that is not strided.
std::span<const std::byte> RowBytes(const TensorEntry& entry, int64_t row0, int64_t row1) {
  const int64_t rows = entry.num_rows();
  if (rows == 0 || entry.bytes.empty()) return {};
  const size_t row_bytes = entry.bytes.size() / static_cast<size_t>(rows);
  return entry.bytes.subspan(static_cast<size_t>(row0) * row_bytes, static_cast<size_t>(row1 - row0) * row_bytes);
}

}  // namespace

void NarrowFloats(const float* in, int64_t n, void* out, at::ScalarType dtype) {
  if (dtype == at::kFloat) {
    std::memcpy(out, in, static_cast<size_t>(n) * 4);
  } else if (dtype == at::kBFloat16) {
    NarrowToBFloat16(in, n, static_cast<uint16_t*>(out));
  } else {
    auto* half = static_cast<uint16_t*>(out);
    for (int64_t i = 0; i < n; ++i) half[i] = c10::detail::fp16_ieee_from_fp32_value(in[i]);
  }
}

void DecodeRows(const TensorEntry& entry, int64_t row0, int64_t row1, void* out, at::ScalarType dtype) {
  FATHOM_CHECK(dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf, "rows are decoded to f32, bf16 or f16, not {}",
               c10::toString(dtype));
  FATHOM_CHECK(0 <= row0 && row0 <= row1 && row1 <= entry.num_rows(), "rows [{}, {}) of {}", row0, row1, entry.num_rows());
  const int64_t numel = (row1 - row0) * entry.num_cols(), out_size = static_cast<int64_t>(c10::elementSize(dtype));
  if (numel == 0) return;
  auto* out_bytes = static_cast<std::byte*>(out);
  const at::ScalarType stored = ValueType(entry);
  if (stored == dtype && entry.strides.empty()) {
    std::memcpy(out_bytes, RowBytes(entry, row0, row1).data(), static_cast<size_t>(numel * out_size));
    return;
  }
  const std::byte* in = entry.strides.empty() ? RowBytes(entry, row0, row1).data() : nullptr;
  float values[kChunk];
  std::byte gathered[kChunk * 8];
  for (int64_t done = 0; done < numel; done += kChunk) {
    const int64_t n = std::min(kChunk, numel - done);
    if (stored == at::ScalarType::Undefined) {
      const GgmlTraits& traits = TraitsOf(entry.ggml);
      DecodeGgmlBlocks(entry.ggml, in + done / traits.block_numel * traits.block_bytes, n / traits.block_numel, values);
    } else {
      const int64_t size = static_cast<int64_t>(c10::elementSize(stored));
      if (in == nullptr) GatherStrided(entry, row0 * entry.num_cols() + done, n, static_cast<size_t>(size), gathered);
      ToFloat(stored, in == nullptr ? gathered : in + done * size, n, values);
    }
    NarrowFloats(values, n, out_bytes + done * out_size, dtype);
  }
}

void DecodeRows(const TensorEntry& entry, int64_t row0, int64_t row1, at::Tensor& out) {
  FATHOM_CHECK(out.is_contiguous() && out.device().is_cpu() && out.numel() == (row1 - row0) * entry.num_cols(),
               "{} values on the CPU are needed for rows [{}, {})", (row1 - row0) * entry.num_cols(), row0, row1);
  DecodeRows(entry, row0, row1, out.mutable_data_ptr(), out.scalar_type());
}

at::Tensor ReadTensor(const TensorEntry& entry, at::ScalarType dtype) {
  const at::ScalarType stored = ValueType(entry);
  if (dtype == at::ScalarType::Undefined) dtype = stored == at::ScalarType::Undefined ? at::kFloat : stored;
  at::Tensor out = at::empty(entry.shape, at::TensorOptions().dtype(dtype));
  if (out.numel() == 0) return out;
  if (dtype != stored) {
    DecodeRows(entry, 0, entry.num_rows(), out);
  } else if (entry.strides.empty()) {
    std::memcpy(out.mutable_data_ptr(), entry.bytes.data(), out.nbytes());
  } else {
    GatherStrided(entry, 0, out.numel(), out.element_size(), static_cast<std::byte*>(out.mutable_data_ptr()));
  }
  return out;
}

void ReleaseRows(const TensorEntry& entry, int64_t row0, int64_t row1) {
  if (!entry.strides.empty()) return;
  const std::span<const std::byte> rows = RowBytes(entry, row0, row1);
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(rows.data()) + page - 1) / page * page;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(rows.data()) + rows.size()) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);  // a hint: failing changes nothing
}

}  // namespace fathom
