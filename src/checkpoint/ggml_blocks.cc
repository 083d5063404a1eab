#include "checkpoint/ggml_blocks.h"

#include <c10/util/Half.h>

#include <cstring>

#include "base/error.h"

namespace fathom {
namespace {

using Bytes = const uint8_t*;

float LoadHalf(Bytes at) {
  uint16_t bits;
  std::memcpy(&bits, at, sizeof bits);
  return c10::detail::fp16_ieee_to_fp32_value(bits);
}

uint32_t LoadU32(Bytes at) {
  uint32_t value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

constexpr float kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// {half d, 16 bytes of nibbles}: d * (q - 8). Low nibbles are the first 16 values.
void DecodeQ4_0(Bytes in, float* out) {
  const float d = LoadHalf(in);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>((in[2 + i] & 0xF) - 8);
    out[i + 16] = d * static_cast<float>((in[2 + i] >> 4) - 8);
  }
}

// {half d, half m, nibbles}: d * q + m.
void DecodeQ4_1(Bytes in, float* out) {
  const float d = LoadHalf(in), m = LoadHalf(in + 2);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(in[4 + i] & 0xF) + m;
    out[i + 16] = d * static_cast<float>(in[4 + i] >> 4) + m;
  }
}

// {half d, u32 of fifth bits, nibbles}: d * (q - 16).
void DecodeQ5_0(Bytes in, float* out) {
  const float d = LoadHalf(in);
  const uint32_t high = LoadU32(in + 2);
  for (int i = 0; i < 16; ++i) {
    const int low_q = (in[6 + i] & 0xF) | ((high >> i & 1) << 4);
    const int high_q = (in[6 + i] >> 4) | ((high >> (i + 16) & 1) << 4);
    out[i] = d * static_cast<float>(low_q - 16);
    out[i + 16] = d * static_cast<float>(high_q - 16);
  }
}

// {half d, half m, u32 of fifth bits, nibbles}: d * q + m.
void DecodeQ5_1(Bytes in, float* out) {
  const float d = LoadHalf(in), m = LoadHalf(in + 2);
  const uint32_t high = LoadU32(in + 4);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>((in[8 + i] & 0xF) | ((high >> i & 1) << 4)) + m;
    out[i + 16] = d * static_cast<float>((in[8 + i] >> 4) | ((high >> (i + 16) & 1) << 4)) + m;
  }
}

void DecodeQ8_0(Bytes in, float* out) {
  const float d = LoadHalf(in);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(static_cast<int8_t>(in[2 + i]));
}

// {16 bytes: scale nibble, min nibble of 16 values each; 64 bytes of 2 bits; half d, half dmin}.
void DecodeQ2_K(Bytes in, float* out) {
  const Bytes scales = in, qs = in + 16;
  const float d = LoadHalf(in + 80), dmin = LoadHalf(in + 82);
  for (int group = 0; group < 16; ++group) {
    const float dl = d * static_cast<float>(scales[group] & 0xF), ml = dmin * static_cast<float>(scales[group] >> 4);
    const Bytes q = qs + 32 * (group / 8) + 16 * (group % 2);
    const int shift = 2 * (group % 8 / 2);
    for (int i = 0; i < 16; ++i) out[16 * group + i] = dl * static_cast<float>(q[i] >> shift & 3) - ml;
  }
}

// {32 bytes of third bits; 64 bytes of 2 bits; 12 bytes with 16 scales of 6 bits; half d}: d * (scale - 32) * (q - 4).
void DecodeQ3_K(Bytes in, float* out) {
  const Bytes hmask = in, qs = in + 32, packed = in + 96;
  const float d = LoadHalf(in + 108);
  for (int group = 0; group < 16; ++group) {
    const int low = group < 8 ? packed[group] & 0xF : packed[group - 8] >> 4;
    const int high = packed[8 + group % 4] >> (2 * (group / 4)) & 3;
    const float dl = d * static_cast<float>((low | high << 4) - 32);
    const int offset = 16 * (group % 2);
    const Bytes q = qs + 32 * (group / 8) + offset;
    const int shift = 2 * (group % 8 / 2);
    for (int i = 0; i < 16; ++i) {
      const int third = hmask[offset + i] >> (group / 2) & 1;
      out[16 * group + i] = dl * static_cast<float>((q[i] >> shift & 3) - (third != 0 ? 0 : 4));
    }
  }
}

// The 6-bit scale and minimum of sub-block j in Q4_K's and Q5_K's 12 bytes.
struct ScaleMin {
  int scale, min;
};
ScaleMin UnpackScaleMin(int j, Bytes packed) {
  if (j < 4) return {packed[j] & 63, packed[j + 4] & 63};
  return {(packed[j + 4] & 0xF) | (packed[j - 4] >> 6) << 4, (packed[j + 4] >> 4) | (packed[j] >> 6) << 4};
}

// {half d, half dmin, 12 bytes of scales, 128 bytes of nibbles}: d * scale * q - dmin * min.
void DecodeQ4_K(Bytes in, float* out) {
  const float d = LoadHalf(in), dmin = LoadHalf(in + 2);
  for (int j = 0; j < 8; ++j) {
    const ScaleMin packed = UnpackScaleMin(j, in + 4);
    const float dl = d * static_cast<float>(packed.scale), ml = dmin * static_cast<float>(packed.min);
    const Bytes q = in + 16 + 32 * (j / 2);
    const int shift = 4 * (j % 2);
    for (int i = 0; i < 32; ++i) out[32 * j + i] = dl * static_cast<float>(q[i] >> shift & 0xF) - ml;
  }
}

// As Q4_K with 32 bytes of fifth bits before the nibbles.
void DecodeQ5_K(Bytes in, float* out) {
  const float d = LoadHalf(in), dmin = LoadHalf(in + 2);
  const Bytes fifth = in + 16;
  for (int j = 0; j < 8; ++j) {
    const ScaleMin packed = UnpackScaleMin(j, in + 4);
    const float dl = d * static_cast<float>(packed.scale), ml = dmin * static_cast<float>(packed.min);
    const Bytes q = in + 48 + 32 * (j / 2);
    const int shift = 4 * (j % 2);
    for (int i = 0; i < 32; ++i)
      out[32 * j + i] = dl * static_cast<float>((q[i] >> shift & 0xF) | (fifth[i] >> j & 1) << 4) - ml;
  }
}

// {128 bytes of low nibbles; 64 bytes of high bits; 16 signed scales; half d}: d * scale * (q - 32).
void DecodeQ6_K(Bytes in, float* out) {
  const float d = LoadHalf(in + 208);
  for (int group = 0; group < 16; ++group) {
    const int half = group / 8, quarter = group % 8 / 2, offset = 16 * (group % 2);
    const float dl = d * static_cast<float>(static_cast<int8_t>(in[192 + group]));
    const Bytes low = in + 64 * half + 32 * (quarter % 2) + offset;
    const Bytes high = in + 128 + 32 * half + offset;
    const int low_shift = 4 * (quarter / 2), high_shift = 2 * quarter;
    for (int i = 0; i < 16; ++i) {
      const int q = (low[i] >> low_shift & 0xF) | (high[i] >> high_shift & 3) << 4;
      out[16 * group + i] = dl * static_cast<float>(q - 32);
    }
  }
}

// As Q4_0 with a table of 16 values.
void DecodeIq4Nl(Bytes in, float* out) {
  const float d = LoadHalf(in);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * kIq4Values[in[2 + i] & 0xF];
    out[i + 16] = d * kIq4Values[in[2 + i] >> 4];
  }
}

// {half d, u16 of high scale bits, 4 bytes of low scale bits, 128 bytes of nibbles}: d * (scale - 32) * table[q].
void DecodeIq4Xs(Bytes in, float* out) {
  const float d = LoadHalf(in);
  const int scales_high = in[2] | in[3] << 8;
  for (int j = 0; j < 8; ++j) {
    const int scale = (in[4 + j / 2] >> (4 * (j % 2)) & 0xF) | (scales_high >> (2 * j) & 3) << 4;
    const float dl = d * static_cast<float>(scale - 32);
    const Bytes q = in + 8 + 16 * j;
    for (int i = 0; i < 16; ++i) {
      out[32 * j + i] = dl * kIq4Values[q[i] & 0xF];
      out[32 * j + i + 16] = dl * kIq4Values[q[i] >> 4];
    }
  }
}

template <void (*kDecode)(Bytes, float*), int kBytes, int kNumel>
void DecodeAll(const std::byte* blocks, int64_t num_blocks, float* out) {
  Bytes in = reinterpret_cast<Bytes>(blocks);
  for (int64_t i = 0; i < num_blocks; ++i) kDecode(in + i * kBytes, out + i * kNumel);
}

}  // namespace

void DecodeGgmlBlocks(GgmlType type, const std::byte* blocks, int64_t num_blocks, float* out) {
  switch (type) {
    case GgmlType::kQ4_0: return DecodeAll<DecodeQ4_0, 18, 32>(blocks, num_blocks, out);
    case GgmlType::kQ4_1: return DecodeAll<DecodeQ4_1, 20, 32>(blocks, num_blocks, out);
    case GgmlType::kQ5_0: return DecodeAll<DecodeQ5_0, 22, 32>(blocks, num_blocks, out);
    case GgmlType::kQ5_1: return DecodeAll<DecodeQ5_1, 24, 32>(blocks, num_blocks, out);
    case GgmlType::kQ8_0: return DecodeAll<DecodeQ8_0, 34, 32>(blocks, num_blocks, out);
    case GgmlType::kQ2_K: return DecodeAll<DecodeQ2_K, 84, 256>(blocks, num_blocks, out);
    case GgmlType::kQ3_K: return DecodeAll<DecodeQ3_K, 110, 256>(blocks, num_blocks, out);
    case GgmlType::kQ4_K: return DecodeAll<DecodeQ4_K, 144, 256>(blocks, num_blocks, out);
    case GgmlType::kQ5_K: return DecodeAll<DecodeQ5_K, 176, 256>(blocks, num_blocks, out);
    case GgmlType::kQ6_K: return DecodeAll<DecodeQ6_K, 210, 256>(blocks, num_blocks, out);
    case GgmlType::kIQ4_NL: return DecodeAll<DecodeIq4Nl, 18, 32>(blocks, num_blocks, out);
    case GgmlType::kIQ4_XS: return DecodeAll<DecodeIq4Xs, 136, 256>(blocks, num_blocks, out);
    case GgmlType::kF32:
    case GgmlType::kF16:
    case GgmlType::kBF16: break;
  }
  FATHOM_CHECK(false, "ggml type {} has no blocks", static_cast<uint32_t>(type));
}

}  // namespace fathom
