// Sixteen float32 numbers in two registers of AVX2 or four of NEON: each operation is done for each register. Included by
// vector.h; vector_one.h says what the functions do.
#pragma once
#if LSTMP_VECTORS == 256
#include <immintrin.h>
#else
#include <arm_neon.h>
#endif

namespace {

#if LSTMP_VECTORS == 256
using Register = __m256;
constexpr int kRegisters = 2, kWidth = 8;
#define LSTMP_REGISTERS(name, avx, neon) \
  inline Register name##_of(Register a, Register b) { return avx; }
inline Register load_of(const float* from) { return _mm256_loadu_ps(from); }
inline void store_of(float* to, Register x) { _mm256_storeu_ps(to, x); }
inline Register set_of(float x) { return _mm256_set1_ps(x); }
inline Register fmadd_of(Register a, Register b, Register c) { return _mm256_fmadd_ps(a, b, c); }
inline Register fmsub_of(Register a, Register b, Register c) { return _mm256_fmsub_ps(a, b, c); }
inline Register fnmadd_of(Register a, Register b, Register c) { return _mm256_fnmadd_ps(a, b, c); }
inline Register round_of(Register x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline Register times_power_of(Register x, Register n) {
  const __m256i bits = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  return _mm256_mul_ps(x, _mm256_castsi256_ps(bits));
}
inline Register zero_outside_of(Register x, Register at, Register low, Register high) {
  const __m256 outside = _mm256_or_ps(_mm256_cmp_ps(at, high, _CMP_GE_OQ), _mm256_cmp_ps(at, low, _CMP_LE_OQ));
  return _mm256_andnot_ps(outside, x);
}
inline Register from_bf16_of(const uint16_t* from) {
  const __m128i numbers = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(numbers), 16));
}
inline Register from_int8_of(const int8_t* from) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
}
#else
using Register = float32x4_t;
constexpr int kRegisters = 4, kWidth = 4;
#define LSTMP_REGISTERS(name, avx, neon) \
  inline Register name##_of(Register a, Register b) { return neon; }
inline Register load_of(const float* from) { return vld1q_f32(from); }
inline void store_of(float* to, Register x) { vst1q_f32(to, x); }
inline Register set_of(float x) { return vdupq_n_f32(x); }
inline Register fmadd_of(Register a, Register b, Register c) { return vfmaq_f32(c, a, b); }
inline Register fmsub_of(Register a, Register b, Register c) { return vnegq_f32(vfmsq_f32(c, a, b)); }
inline Register fnmadd_of(Register a, Register b, Register c) { return vfmsq_f32(c, a, b); }
inline Register round_of(Register x) { return vrndnq_f32(x); }
inline Register times_power_of(Register x, Register n) {
  const int32x4_t bits = vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127)), 23);
  return vmulq_f32(x, vreinterpretq_f32_s32(bits));
}
inline Register zero_outside_of(Register x, Register at, Register low, Register high) {
  const uint32x4_t outside = vorrq_u32(vcgeq_f32(at, high), vcleq_f32(at, low));
  return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(x), outside));
}
inline Register from_bf16_of(const uint16_t* from) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(from), 16)); }
inline Register from_int8_of(const int8_t* from) {
  int32_t four;  // no more may be read
  std::memcpy(&four, from, sizeof(four));
  return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four))))));
}
#endif
LSTMP_REGISTERS(add, _mm256_add_ps(a, b), vaddq_f32(a, b))
LSTMP_REGISTERS(sub, _mm256_sub_ps(a, b), vsubq_f32(a, b))
LSTMP_REGISTERS(mul, _mm256_mul_ps(a, b), vmulq_f32(a, b))
LSTMP_REGISTERS(divide, _mm256_div_ps(a, b), vdivq_f32(a, b))
LSTMP_REGISTERS(min, _mm256_min_ps(a, b), vminq_f32(a, b))
LSTMP_REGISTERS(max, _mm256_max_ps(a, b), vmaxq_f32(a, b))
#undef LSTMP_REGISTERS

struct Floats {
  Register part[kRegisters];
};
using Lanes = int64_t;  // the number of the first lanes

// Calls f(index of a register) for each register of the result.
template <typename F>
inline Floats each(const F& f) {
  Floats out;
#pragma GCC unroll 4
  for (int i = 0; i < kRegisters; ++i) out.part[i] = f(i);
  return out;
}

inline Lanes lanes(int64_t count) { return count; }
inline Floats set(float x) {
  return each([&](int) { return set_of(x); });
}
inline Floats load(const float* from) {
  return each([&](int i) { return load_of(from + i * kWidth); });
}
inline void store(float* to, Floats x) {
  for (int i = 0; i < kRegisters; ++i) store_of(to + i * kWidth, x.part[i]);
}
inline Floats load(const float* from, Lanes some) {
  if (some >= 16) return load(from);
  float numbers[16] = {0};
  if (some > 0) std::memcpy(numbers, from, some * sizeof(float));
  return load(numbers);
}
inline void store(float* to, Lanes some, Floats x) {
  if (some >= 16) return store(to, x);
  float numbers[16];
  store(numbers, x);
  if (some > 0) std::memcpy(to, numbers, some * sizeof(float));
}
inline Floats only(Lanes some, Floats x, Floats others) {
  if (some >= 16) return x;
  float numbers[16];
  store(numbers, others);
  store(numbers, some, x);
  return load(numbers);
}
#define LSTMP_EACH_2(name)                                                  \
  inline Floats name(Floats a, Floats b) {                                  \
    return each([&](int i) { return name##_of(a.part[i], b.part[i]); });    \
  }
LSTMP_EACH_2(add)
LSTMP_EACH_2(sub)
LSTMP_EACH_2(mul)
LSTMP_EACH_2(min)
LSTMP_EACH_2(max)
LSTMP_EACH_2(times_power)
#undef LSTMP_EACH_2
#define LSTMP_EACH_3(name)                                                             \
  inline Floats name(Floats a, Floats b, Floats c) {                                   \
    return each([&](int i) { return name##_of(a.part[i], b.part[i], c.part[i]); });    \
  }
LSTMP_EACH_3(fmadd)
LSTMP_EACH_3(fmsub)
LSTMP_EACH_3(fnmadd)
#undef LSTMP_EACH_3
inline Floats round(Floats x) {
  return each([&](int i) { return round_of(x.part[i]); });
}
inline Floats inverse(Floats x) {
  return each([&](int i) { return divide_of(set_of(1.0f), x.part[i]); });
}
inline Floats zero_outside(Floats x, Floats at, Floats low, Floats high) {
  return each([&](int i) { return zero_outside_of(x.part[i], at.part[i], low.part[i], high.part[i]); });
}
inline Floats from_bf16(const uint16_t* from) {
  return each([&](int i) { return from_bf16_of(from + i * kWidth); });
}
inline Floats from_int8(const int8_t* from) {
  return each([&](int i) { return from_int8_of(from + i * kWidth); });
}
inline float sum_of(Floats x) {
  float numbers[16], sum = 0;
  store(numbers, x);
  for (float number : numbers) sum += number;
  return sum;
}
inline float max_of(Floats x) {
  float numbers[16];
  store(numbers, x);
  float top = numbers[0];
  for (float number : numbers) top = number > top ? number : top;
  return top;
}

// Transposes a square of kWidth × kWidth numbers.
#if LSTMP_VECTORS == 256
inline void transpose(Register* r) {
  Register t[8];
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    const Register low = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20), high = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
    r[i] = low, r[i + 4] = high;
  }
}
#else
inline void transpose(Register* r) {
  const float32x4x2_t a = vtrnq_f32(r[0], r[1]), b = vtrnq_f32(r[2], r[3]);
  for (int i = 0; i < 2; ++i) {
    r[i] = vcombine_f32(vget_low_f32(a.val[i]), vget_low_f32(b.val[i]));
    r[i + 2] = vcombine_f32(vget_high_f32(a.val[i]), vget_high_f32(b.val[i]));
  }
}
#endif

inline void store_transposed(float* to, int64_t ld, const Floats* rows) {
  for (int across = 0; across < kRegisters; ++across)
    for (int down = 0; down < kRegisters; ++down) {
      Register square[kWidth];
      for (int i = 0; i < kWidth; ++i) square[i] = rows[down * kWidth + i].part[across];
      transpose(square);
      for (int i = 0; i < kWidth; ++i) store_of(to + (across * kWidth + i) * ld + down * kWidth, square[i]);
    }
}

}  // namespace
