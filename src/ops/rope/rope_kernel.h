// Rows of the rotary embedding and of its transpose. Compiled by cpu/level_*.cc alone.
#pragma once

#include "ops/cpu/kernel_table.h"
#include "ops/cpu/simd.h"

namespace fathom::ops {
namespace {

// n <= kLanes pairs (p[2i], p[2i + 1]) as two vectors.
template <typename T>
FATHOM_INLINE void LoadPairs(const T* p, int64_t n, Floats* first, Floats* second) {
  float a[kLanes] = {}, b[kLanes] = {};
  for (int64_t i = 0; i < n; ++i) {
    a[i] = ToFloat(p[2 * i]);
    b[i] = ToFloat(p[2 * i + 1]);
  }
  *first = Load(a);
  *second = Load(b);
}

template <typename T>
FATHOM_INLINE void StorePairs(T* p, Floats first, Floats second, int64_t n) {
  float a[kLanes], b[kLanes];
  Store(a, first);
  Store(b, second);
  for (int64_t i = 0; i < n; ++i) {
    p[2 * i] = FromFloat<T>(a[i]);
    p[2 * i + 1] = FromFloat<T>(b[i]);
  }
}

template <typename T>
FATHOM_INLINE void RotateHead(const T* x, const float* cos, const float* sin, T* y, int64_t half, bool interleaved, bool backward) {
  for (int64_t i = 0; i < half; i += kLanes) {
    const int64_t n = Min(kLanes, half - i);
    const Floats c = LoadPart(cos + i, n), angle = LoadPart(sin + i, n), s = backward ? Set(0.0f) - angle : angle;
    Floats a, b;
    if (interleaved && !backward) {
      LoadPairs(x + 2 * i, n, &a, &b);
    } else {
      a = LoadPart(x + i, n);
      b = LoadPart(x + half + i, n);
    }
    const Floats first = a * c - b * s, second = b * c + a * s;
    if (interleaved && backward) {
      StorePairs(y + 2 * i, first, second, n);
    } else {
      StorePart(y + i, first, n);
      StorePart(y + half + i, second, n);
    }
  }
}

template <typename T>
void RopeKernel(const RopeArgs& args, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    for (int64_t h = 0; h < args.H; ++h) {
      RotateHead(static_cast<const T*>(args.x) + t * args.t_stride + h * args.h_stride, args.cos + t * args.half, args.sin + t * args.half,
                 static_cast<T*>(args.y) + (t * args.H + h) * 2 * args.half, args.half, args.interleaved, args.backward);
    }
  }
}

}  // namespace
}  // namespace fathom::ops
