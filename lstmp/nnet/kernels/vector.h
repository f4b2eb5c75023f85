// Sixteen float32 numbers as one value: one register of AVX-512, two of AVX2, four of NEON. The arithmetic is that of the
// processor's instructions; NaN is propagated.
#pragma once
#include <cstdint>
#include <cstring>
#include <initializer_list>

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#define LSTMP_VECTORS 512
#elif defined(__AVX2__) && defined(__FMA__)
#define LSTMP_VECTORS 256
#elif defined(__aarch64__)
#define LSTMP_VECTORS 128
#endif

#if defined(LSTMP_VECTORS)
#if LSTMP_VECTORS == 512
#include "vector_one.h"
#else
#include "vector_many.h"
#endif

namespace {

inline Floats zero() { return set(0.0f); }

}  // namespace
#endif
