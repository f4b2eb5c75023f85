// Stand-ins for the three instructions of AVX512_BF16 that the kernels use, for tests on processors with AVX-512 alone:
// compile with `-include` of this file. Like the instructions, they treat numbers below 1e-38 as zero.
#pragma once
#include <immintrin.h>

#if !defined(__AVX512BF16__)
#define __AVX512BF16__ 1

namespace emulated {

inline __m512 flushed(__m512 x) {
  const __mmask16 tiny = _mm512_cmp_ps_mask(_mm512_abs_ps(x), _mm512_set1_ps(1.17549435e-38f), _CMP_LT_OQ);
  return _mm512_mask_and_ps(x, tiny, x, _mm512_set1_ps(-0.0f));
}
inline __m256i narrow(__m512 x) {
  const __m512i bits = _mm512_castps_si512(flushed(x)), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i nearest = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_mask_mov_epi32(nearest, nan, quiet), 16));
}
inline __m512i narrow_two(__m512 high, __m512 low) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(narrow(low)), narrow(high), 1);
}
inline __m512 dot(__m512 sum, __m512i a, __m512i b) {
  const __m512i odd = _mm512_set1_epi32(0xffff0000);
  const auto numbers = [](__m512i bits) { return flushed(_mm512_castsi512_ps(bits)); };
  const __m512 low = _mm512_fmadd_ps(numbers(_mm512_slli_epi32(a, 16)), numbers(_mm512_slli_epi32(b, 16)), flushed(sum));
  return flushed(_mm512_fmadd_ps(numbers(_mm512_and_si512(a, odd)), numbers(_mm512_and_si512(b, odd)), low));
}

}  // namespace emulated

#define _mm512_cvtneps_pbh(x) emulated::narrow(x)
#define _mm512_cvtne2ps_pbh(high, low) emulated::narrow_two(high, low)
#define _mm512_dpbf16_ps(sum, a, b) emulated::dot(sum, (__m512i)(a), (__m512i)(b))
#endif
