// exp, sigmoid and tanh of sixteen float32 numbers at a time.
#pragma once
#include "vector.h"

namespace {

// eˣ for |x| < 80, as in kernels.cpp. The bound is the first operand of min and max, so that NaN is propagated.
inline Floats exp_(Floats x) {
  x = max(set(-80.0f), min(set(80.0f), x));
  const Floats n = round(mul(x, set(1.44269504f)));
  Floats r = fnmadd(n, set(0.693359375f), x);
  r = fmadd(n, set(2.12194440e-4f), r);
  Floats p = set(1.0f / 720);
  for (float c : {1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}) p = fmadd(p, r, set(c));
  return times_power(p, n);
}

inline Floats sigmoid(Floats x) { return inverse(add(set(1.0f), exp_(sub(zero(), x)))); }

inline Floats tanh_(Floats x) {
  const Floats one = set(1.0f);
  return fnmadd(set(2.0f), inverse(add(one, exp_(add(x, x)))), one);
}

}  // namespace
