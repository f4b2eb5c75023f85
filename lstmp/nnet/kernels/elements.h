// exp, sigmoid and tanh of sixteen float32 numbers at a time.
#pragma once
#include <immintrin.h>

#include <initializer_list>

namespace {

// eˣ for |x| < 80, as in kernels.cpp. The bound is the first operand of min and max, so that NaN is propagated.
inline __m512 exp_(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-80.0f), _mm512_min_ps(_mm512_set1_ps(80.0f), x));
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 0);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fmadd_ps(n, _mm512_set1_ps(2.12194440e-4f), r);
  __m512 p = _mm512_set1_ps(1.0f / 720);
  for (float c : {1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}) p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(c));
  return _mm512_scalef_ps(p, n);
}

inline __m512 inverse(__m512 x) {  // one Newton step on an approximation with 14 bits
  const __m512 y = _mm512_rcp14_ps(x);
  return _mm512_mul_ps(y, _mm512_fnmadd_ps(x, y, _mm512_set1_ps(2.0f)));
}

inline __m512 sigmoid(__m512 x) {
  return inverse(_mm512_add_ps(_mm512_set1_ps(1.0f), exp_(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}

inline __m512 tanh_(__m512 x) {
  const __m512 one = _mm512_set1_ps(1.0f);
  return _mm512_fnmadd_ps(_mm512_set1_ps(2.0f), inverse(_mm512_add_ps(one, exp_(_mm512_add_ps(x, x)))), one);
}

}  // namespace
