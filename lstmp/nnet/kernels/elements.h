// exp, sigmoid and tanh of sixteen float32 numbers at a time, and the element-wise part of an LSTMP frame.
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

// One frame of sixteen cells, from the inputs of the gates without peepholes, the cells of the previous frame and the peephole
// weights: the activations i, f, o and σ(2 x) for tanh x of gate c, the new cells c and outputs m = o · tanh(c).
struct CellStep {
  Floats i, f, s_c, o, c, m;
  CellStep(Floats in_i, Floats in_f, Floats in_c, Floats in_o, Floats prev, Floats p_i, Floats p_f, Floats p_o, Floats bottom,
           Floats top) {
    i = sigmoid(fmadd(p_i, prev, in_i));
    f = sigmoid(fmadd(p_f, prev, in_f));
    s_c = sigmoid(add(in_c, in_c));
    const Floats g = fmsub(set(2.0f), s_c, set(1.0f));  // tanh(x) = 2 σ(2 x) − 1
    c = max(bottom, min(top, fmadd(f, prev, mul(i, g))));
    o = sigmoid(fmadd(p_o, c, in_o));
    m = mul(o, tanh_(c));
  }
};

}  // namespace
