// Vectors of bfloat16 numbers, on processors that have instructions for them: AVX512_BF16 and the BF16 extension of ARM.
#pragma once
#include "vector.h"

#if LSTMP_VECTORS == 512 && defined(__AVX512BF16__)
#define LSTMP_BF16 1

namespace {

using Bf16x16 = __m256i;
using Bf16x32 = __m512i;

inline Bf16x16 load_16(const uint16_t* from) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(from)); }
inline void store_16(uint16_t* to, Bf16x16 x) { _mm256_store_si256(reinterpret_cast<__m256i*>(to), x); }
inline Bf16x32 load_32(const uint16_t* from) { return _mm512_load_si512(from); }
inline void store_32(uint16_t* to, Bf16x32 x) { _mm512_store_si512(to, x); }
inline Bf16x16 narrow(Floats x) { return (__m256i)_mm512_cvtneps_pbh(x); }  // to the nearest number
inline Bf16x32 narrow(Floats low, Floats high) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }
inline Floats widen(Bf16x16 x) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16)); }
inline Bf16x16 low_half(Bf16x32 x) { return _mm512_castsi512_si256(x); }
inline Bf16x16 high_half(Bf16x32 x) { return _mm512_extracti64x4_epi64(x, 1); }
inline Bf16x32 join(Bf16x16 low, Bf16x16 high) { return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1); }
// (x[0], x[16], x[1], x[17], …)
inline Bf16x32 interleave(Bf16x32 x) {
  alignas(64) static const uint16_t order[32] = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23,
                                                 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_permutexvar_epi16(_mm512_load_si512(order), x);
}
inline Floats negated(Floats x) { return _mm512_xor_ps(x, _mm512_set1_ps(-0.0f)); }
// For each lane `yes` or `no`: whether x is above the bound, or has a minus sign.
inline Floats if_above(Floats x, float bound, Floats yes, Floats no) {
  return _mm512_mask_mov_ps(no, _mm512_cmp_ps_mask(x, set(bound), _CMP_GT_OQ), yes);
}
inline Floats if_minus(Floats x, Floats yes, Floats no) {
  return _mm512_mask_mov_ps(no, _mm512_movepi32_mask(_mm512_castps_si512(x)), yes);
}
// Stores the transpose of 16 rows of 16 pairs: row r of it at `to` + r · `ld`.
inline void store_pairs_transposed(uint16_t* to, int64_t ld, Bf16x32* rows) {
  transpose(rows);
  for (int r = 0; r < 16; ++r) store_32(to + r * ld, rows[r]);
}

}  // namespace

#elif defined(__aarch64__) && defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
#define LSTMP_BF16 1
#include <arm_bf16.h>

namespace {

struct Bf16x16 {
  uint16x8_t part[2];
};
struct Bf16x32 {
  uint16x8_t part[4];
};

inline Bf16x16 load_16(const uint16_t* from) { return {{vld1q_u16(from), vld1q_u16(from + 8)}}; }
inline void store_16(uint16_t* to, Bf16x16 x) { vst1q_u16(to, x.part[0]), vst1q_u16(to + 8, x.part[1]); }
inline Bf16x32 load_32(const uint16_t* from) {
  return {{vld1q_u16(from), vld1q_u16(from + 8), vld1q_u16(from + 16), vld1q_u16(from + 24)}};
}
inline void store_32(uint16_t* to, Bf16x32 x) {
  for (int i = 0; i < 4; ++i) vst1q_u16(to + 8 * i, x.part[i]);
}
inline Bf16x16 narrow(Floats x) {
  Bf16x16 out;
  for (int i = 0; i < 2; ++i)
    out.part[i] = vreinterpretq_u16_bf16(vcvtq_high_bf16_f32(vcvtq_low_bf16_f32(x.part[2 * i]), x.part[2 * i + 1]));
  return out;
}
inline Floats widen(Bf16x16 x) {
  return each([&](int i) {
    const uint16x4_t four = i % 2 ? vget_high_u16(x.part[i / 2]) : vget_low_u16(x.part[i / 2]);
    return vreinterpretq_f32_u32(vshll_n_u16(four, 16));
  });
}
inline Bf16x16 low_half(Bf16x32 x) { return {{x.part[0], x.part[1]}}; }
inline Bf16x16 high_half(Bf16x32 x) { return {{x.part[2], x.part[3]}}; }
inline Bf16x32 join(Bf16x16 low, Bf16x16 high) { return {{low.part[0], low.part[1], high.part[0], high.part[1]}}; }
inline Bf16x32 narrow(Floats low, Floats high) { return join(narrow(low), narrow(high)); }
inline Bf16x32 interleave(Bf16x32 x) {
  return {{vzip1q_u16(x.part[0], x.part[2]), vzip2q_u16(x.part[0], x.part[2]), vzip1q_u16(x.part[1], x.part[3]),
           vzip2q_u16(x.part[1], x.part[3])}};
}
inline Floats negated(Floats x) {
  return each([&](int i) { return vnegq_f32(x.part[i]); });
}
inline Floats if_above(Floats x, float bound, Floats yes, Floats no) {
  return each([&](int i) { return vbslq_f32(vcgtq_f32(x.part[i], set_of(bound)), yes.part[i], no.part[i]); });
}
inline Floats if_minus(Floats x, Floats yes, Floats no) {
  return each([&](int i) {
    return vbslq_f32(vcltzq_s32(vreinterpretq_s32_f32(x.part[i])), yes.part[i], no.part[i]);
  });
}
inline void store_pairs_transposed(uint16_t* to, int64_t ld, Bf16x32* rows) {
  for (int across = 0; across < 4; ++across)
    for (int down = 0; down < 4; ++down) {
      Register square[4];
      for (int i = 0; i < 4; ++i) square[i] = vreinterpretq_f32_u16(rows[down * 4 + i].part[across]);
      transpose(square);
      for (int i = 0; i < 4; ++i) vst1q_u16(to + (across * 4 + i) * ld + down * 8, vreinterpretq_u16_f32(square[i]));
    }
}

}  // namespace

#endif
