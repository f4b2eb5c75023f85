// The parts of a training step that are not matrix products: the gates of one frame of all streams, forward and backward, the
// softmax with its cross entropy, and Adam. Each makes one pass over memory, where PyTorch makes one for every operation.
//
// Written so that the compiler vectorizes every inner loop for the processor at hand (AVX2, AVX-512, NEON). NaN is
// propagated: a minimum or maximum is a comparison that is false for NaN, and no compiler flag assumes that NaN is absent.
#include "../../exponential.h"

#include <cmath>

namespace {

inline float sigmoid(float x) { return 1.0f / (1.0f + exp_(-x)); }

inline float tanh_(float x) { return 1.0f - 2.0f / (1.0f + exp_(2.0f * x)); }

}  // namespace

// One frame of `streams` rows, forward. In: `gates` [4 · cells per row], the inputs of i, f, c, o without the peepholes;
// `prev`, the cells of the previous frame; `peep` [3 · cells] or null; cells are clipped to ±clip. Out: `gates`, now the
// activations; `cell`; `tanh_cell`; and `out` = o · tanh(cell).
extern "C" void lstmp_gates_forward(int64_t streams, int64_t cells, float* gates, const float* prev, const float* peep,
                                    float clip, float* cell, float* tanh_cell, float* out) {
  for (int64_t n = 0; n < streams; ++n) {
    float* __restrict__ i = gates + 4 * cells * n;
    float* __restrict__ f = i + cells;
    float* __restrict__ g = f + cells;
    float* __restrict__ o = g + cells;
    const float* __restrict__ old = prev + cells * n;
    float* __restrict__ c = cell + cells * n;
    float* __restrict__ tc = tanh_cell + cells * n;
    float* __restrict__ m = out + cells * n;
    if (peep) {
      const float* __restrict__ p = peep;
#pragma GCC ivdep
      for (int64_t k = 0; k < cells; ++k) {
        i[k] += p[k] * old[k];
        f[k] += p[cells + k] * old[k];
      }
    }
#pragma GCC ivdep
    for (int64_t k = 0; k < cells; ++k) {
      const float a = sigmoid(i[k]), b = sigmoid(f[k]), d = tanh_(g[k]);
      float value = b * old[k] + a * d;
      value = value > clip ? clip : value;
      value = value < -clip ? -clip : value;
      i[k] = a, f[k] = b, g[k] = d, c[k] = value;
    }
#pragma GCC ivdep
    for (int64_t k = 0; k < cells; ++k) {
      const float e = sigmoid(peep ? o[k] + peep[2 * cells + k] * c[k] : o[k]), t = tanh_(c[k]);
      o[k] = e, tc[k] = t, m[k] = e * t;
    }
  }
}

// The same frame, backward. In: the results of the forward pass; `d_out`, the gradient of `out`; `d_cell`, the gradient of
// `cell` from the next frame. Out: `d_gates`, the gradient of the gates' inputs; `d_cell`, now the gradient of `prev`. Added
// to: `d_bias` [4 · cells] and `d_peep` [3 · cells, or null].
extern "C" void lstmp_gates_backward(int64_t streams, int64_t cells, const float* gates, const float* prev,
                                     const float* cell, const float* tanh_cell, const float* peep, float clip,
                                     const float* d_out, float* d_cell, float* d_gates, float* d_bias, float* d_peep) {
  for (int64_t n = 0; n < streams; ++n) {
    const float* __restrict__ i = gates + 4 * cells * n;
    const float* __restrict__ f = i + cells;
    const float* __restrict__ g = f + cells;
    const float* __restrict__ o = g + cells;
    const float* __restrict__ old = prev + cells * n;
    const float* __restrict__ c = cell + cells * n;
    const float* __restrict__ tc = tanh_cell + cells * n;
    const float* __restrict__ dm = d_out + cells * n;
    float* __restrict__ dc = d_cell + cells * n;
    float* __restrict__ di = d_gates + 4 * cells * n;
    float* __restrict__ df = di + cells;
    float* __restrict__ dg = df + cells;
    float* __restrict__ d_o = dg + cells;
#pragma GCC ivdep
    for (int64_t k = 0; k < cells; ++k) {
      const float slope = dm[k] * tc[k] * o[k] * (1.0f - o[k]);
      float grad = dc[k] + dm[k] * o[k] * (1.0f - tc[k] * tc[k]);
      if (peep) grad += slope * peep[2 * cells + k];
      grad = c[k] >= clip || c[k] <= -clip ? 0.0f : grad;  // a clipped cell passes no gradient
      d_o[k] = slope;
      di[k] = grad * g[k] * i[k] * (1.0f - i[k]);
      df[k] = grad * old[k] * f[k] * (1.0f - f[k]);
      dg[k] = grad * i[k] * (1.0f - g[k] * g[k]);
      dc[k] = grad * f[k];
    }
#pragma GCC ivdep
    for (int64_t k = 0; k < 4 * cells; ++k) d_bias[k] += di[k];
    if (peep) {
#pragma GCC ivdep
      for (int64_t k = 0; k < cells; ++k) {
        dc[k] += di[k] * peep[k] + df[k] * peep[cells + k];
        d_peep[k] += di[k] * old[k];
        d_peep[cells + k] += df[k] * old[k];
        d_peep[2 * cells + k] += d_o[k] * c[k];
      }
    }
  }
}

// Softmax and cross entropy of `rows` rows of `states` scores. The scores are replaced by the gradient of
// −scale · Σ log p(target), summed over the rows whose target is not −1. `sums`: that loss, unscaled; `hits`: rows whose
// target has the highest score (ties count).
extern "C" void lstmp_cross_entropy(int64_t rows, int64_t states, float* scores, const int64_t* targets, float scale,
                                    double* sums, int64_t* hits) {
  double loss = 0;
  int64_t right = 0;
  for (int64_t n = 0; n < rows; ++n) {
    float* __restrict__ s = scores + states * n;
    if (targets[n] < 0) {
      std::memset(s, 0, sizeof(float) * states);
      continue;
    }
    constexpr int kLanes = 16;  // separate partial sums, an order of summation that vectorized code can keep
    float tops[kLanes], totals[kLanes] = {0};
    for (int j = 0; j < kLanes; ++j) tops[j] = s[0];
    int64_t k = 0;
    for (; k + kLanes <= states; k += kLanes)
      for (int j = 0; j < kLanes; ++j) tops[j] = s[k + j] > tops[j] ? s[k + j] : tops[j];
    float top = tops[0];
    for (int j = 1; j < kLanes; ++j) top = tops[j] > top ? tops[j] : top;
    for (; k < states; ++k) top = s[k] > top ? s[k] : top;
    const float hit = s[targets[n]];
    right += hit >= top;
    for (k = 0; k + kLanes <= states; k += kLanes)
      for (int j = 0; j < kLanes; ++j) totals[j] += (s[k + j] = exp_(s[k + j] - top));
    double total = 0;
    for (; k < states; ++k) total += (s[k] = exp_(s[k] - top));
    for (int j = 0; j < kLanes; ++j) total += totals[j];
    loss -= (hit - top) - std::log(total);
    const float norm = scale / static_cast<float>(total);
    for (k = 0; k < states; ++k) s[k] *= norm;
    s[targets[n]] -= scale;
  }
  *sums = loss, *hits = right;
}

// One step of Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101, algorithm 2) for `count` weights `w`
// with gradients `g` and moments `m`, `v`. `rest_1`, `rest_2`: 1 − β, exactly; `rate`: the learning rate; `rate_1`: the
// learning rate divided by 1 − β₁ᵗ; `root_2`: the square root of 1 − β₂ᵗ.
extern "C" void lstmp_adam(int64_t count, float* __restrict__ w, const float* __restrict__ g, float* __restrict__ m,
                           float* __restrict__ v, float beta_1, float rest_1, float beta_2, float rest_2, float epsilon,
                           float rate, float rate_1, float root_2, float decay) {
  const float keep = 1.0f - rate * decay;
#pragma GCC ivdep
  for (int64_t k = 0; k < count; ++k) {
    m[k] = beta_1 * m[k] + rest_1 * g[k];
    v[k] = beta_2 * v[k] + rest_2 * g[k] * g[k];
    w[k] = keep * w[k] - rate_1 * m[k] / (std::sqrt(v[k]) / root_2 + epsilon);
  }
}
