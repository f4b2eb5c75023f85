// Sixteen float32 numbers in one register, of AVX-512. Included by vector.h.
#pragma once
#include <immintrin.h>

namespace {

using Floats = __m512;
using Lanes = __mmask16;  // the first lanes

inline Lanes lanes(int64_t count) {
  if (count >= 16) return 0xffff;
  return count <= 0 ? 0 : (1u << count) - 1;
}
inline Floats set(float x) { return _mm512_set1_ps(x); }
inline Floats load(const float* from) { return _mm512_load_ps(from); }  // aligned to 64 bytes, as for store
inline void store(float* to, Floats x) { _mm512_store_ps(to, x); }
inline Floats load(const float* from, Lanes some) { return _mm512_maskz_loadu_ps(some, from); }  // the others are 0
inline void store(float* to, Lanes some, Floats x) { _mm512_mask_storeu_ps(to, some, x); }
inline Floats only(Lanes some, Floats x, Floats others) { return _mm512_mask_mov_ps(others, some, x); }
inline Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
inline Floats sub(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
inline Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
inline Floats fmadd(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }    // a b + c
inline Floats fmsub(Floats a, Floats b, Floats c) { return _mm512_fmsub_ps(a, b, c); }    // a b − c
inline Floats fnmadd(Floats a, Floats b, Floats c) { return _mm512_fnmadd_ps(a, b, c); }  // c − a b
// If one of the operands is NaN, the result is the second.
inline Floats min(Floats a, Floats b) { return _mm512_min_ps(a, b); }
inline Floats max(Floats a, Floats b) { return _mm512_max_ps(a, b); }
inline Floats round(Floats x) { return _mm512_roundscale_ps(x, 0); }
inline Floats times_power(Floats x, Floats n) { return _mm512_scalef_ps(x, n); }  // x 2ⁿ for whole numbers |n| < 120
inline Floats inverse(Floats x) {                                                 // one Newton step on 14 bits
  const Floats y = _mm512_rcp14_ps(x);
  return mul(y, fnmadd(x, y, set(2.0f)));
}
inline Floats zero_outside(Floats x, Floats at, Floats low, Floats high) {  // x where low < at < high, else 0
  const __mmask16 outside = _mm512_cmp_ps_mask(at, high, _CMP_GE_OQ) | _mm512_cmp_ps_mask(at, low, _CMP_LE_OQ);
  return _mm512_mask_mov_ps(x, outside, _mm512_setzero_ps());
}
inline Floats from_bf16(const uint16_t* from) {  // sixteen bfloat16 numbers
  const __m256i numbers = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(numbers), 16));
}
inline Floats from_int8(const int8_t* from) {  // sixteen whole numbers
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}
inline float sum_of(Floats x) { return _mm512_reduce_add_ps(x); }
inline float max_of(Floats x) { return _mm512_reduce_max_ps(x); }

// Transposes 16×16 numbers of 32 bits.
inline void transpose(__m512i* r) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int k = 0; k < 4; ++k) {
    const __m512i even0 = _mm512_shuffle_i32x4(r[k], r[4 + k], 0x88), odd0 = _mm512_shuffle_i32x4(r[k], r[4 + k], 0xdd);
    const __m512i even1 = _mm512_shuffle_i32x4(r[8 + k], r[12 + k], 0x88), odd1 = _mm512_shuffle_i32x4(r[8 + k], r[12 + k], 0xdd);
    t[k] = _mm512_shuffle_i32x4(even0, even1, 0x88);
    t[8 + k] = _mm512_shuffle_i32x4(even0, even1, 0xdd);
    t[4 + k] = _mm512_shuffle_i32x4(odd0, odd1, 0x88);
    t[12 + k] = _mm512_shuffle_i32x4(odd0, odd1, 0xdd);
  }
  for (int i = 0; i < 16; ++i) r[i] = t[i];
}

// Stores the transpose of 16 rows of 16 numbers: row r of it at `to` + r · `ld`, aligned to 64 bytes.
inline void store_transposed(float* to, int64_t ld, const Floats* rows) {
  __m512i words[16];
  for (int i = 0; i < 16; ++i) words[i] = _mm512_castps_si512(rows[i]);
  transpose(words);
  for (int i = 0; i < 16; ++i) _mm512_store_si512(to + i * ld, words[i]);
}

}  // namespace
