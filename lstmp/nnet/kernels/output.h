// The forward and backward pass of the output layer with its cross entropy.
#pragma once
#include "elements.h"
#include "layer.h"

#include <cmath>

namespace {

// Computes the scores y wᵀ + bias of `rows` rows, their softmax and cross entropy, and all gradients of
// scale · Σ −log p(target), summed over the rows whose target is not −1. In: `y` [rows, D], `w` [S, D], `bias` [S].
// Out: `d_y`, `d_w`, `d_bias`, or all three null; `loss`, unscaled; `hits`: rows whose target has the highest score (ties
// count).
template <class F, typename N = typename F::Number>
void output(int64_t rows, int64_t width, int64_t states, const float* y, const float* w, const float* bias,
            const int64_t* targets, float scale, float* d_y, float* d_w, float* d_bias, double* loss, int64_t* hits) {
  const int64_t all = tiles_of(rows, kSide), depth = tiles_of(width, kDepth), depth_states = tiles_of(states, kDepth);
  const int64_t columns = 2 * depth_states;
  const Blocked<N> in{memory<N>.input.reserve(all * depth * kTile), depth};
  const Blocked<N> grad{memory<N>.d_gates.reserve(all * depth_states * kTile), depth_states};
  const Panel<N> w_panel{memory<N>.weights.reserve(columns * depth * kTile), depth};
  pack_left<F>(in, 0, y, rows, width, width);
  for (int64_t c = 0; c < columns; ++c)
    pack_right_transposed<F>(w_panel, c, row_of(w, c * kSide, width), states - c * kSide, width);
  Panel<N> back{};
  if (d_y) {
    back = {memory<N>.weights_rec.reserve(2 * depth * depth_states * kTile), depth_states};
    pack_right<F>(back, 0, w, states, width, 2 * depth);
  }
  float* totals = memory<N>.sums.zeros(columns * kSide);
  float* scores = memory<N>.plain.reserve(kBand * columns * kSums);
  const Floats lowest = set(-INFINITY);
  [[maybe_unused]] const typename F::Session session{};
  *loss = 0, *hits = 0;
  for (int64_t r = 0; r < all; r += kBand) {
    const int64_t end = std::min(r + kBand, all);
    multiply<F>(in, r, end, w_panel, columns, [&](int64_t tile, int64_t c, const float* pair) {
      float* to = scores + ((tile - r) * kSide * columns + c) * kSide;
      for (int64_t n = 0; n < kSide; ++n, to += columns * kSide)
        store(to, load(pair + n * kSide)), store(to + kSide, load(pair + kSums + n * kSide));
    });
    for (int64_t row = r * kSide; row < end * kSide; ++row) {
      float* s = scores + (row - r * kSide) * columns * kSide;
      const int64_t target = row < rows ? targets[row] : -1;
      N* out = grad.tile(row / kSide, 0) + row % kSide * kDepth;
      if (target < 0) {
        for (int64_t d = 0; d < depth_states; ++d) F::put(out + d * kTile, zero(), zero());
        continue;
      }
      Floats top = lowest, sum = zero();
      for (int64_t c = 0; c < states; c += kSide) {  // scores beyond the last state are −∞
        const Lanes mask = lanes(states - c);
        const Floats score = only(mask, add(load(s + c), load(bias + c, mask)), lowest);
        store(s + c, score);
        top = max(top, score);
      }
      const float best = max_of(top), hit = s[target];
      *hits += hit >= best;
      for (int64_t c = 0; c < states; c += kSide) {
        const Floats e = only(lanes(states - c), exp_(sub(load(s + c), set(best))), zero());
        store(s + c, e);
        sum = add(sum, e);
      }
      const float total = sum_of(sum);
      *loss -= static_cast<double>(hit - best) - std::log(static_cast<double>(total));
      const Floats norm = set(scale / total);
      s[target] -= total;
      for (int64_t c = tiles_of(states, kSide) * kSide; c < columns * kSide; ++c) s[c] = 0;
      for (int64_t c = 0; c < columns * kSide; c += kDepth) {
        const Floats low = mul(load(s + c), norm), high = mul(load(s + c + kSide), norm);
        store(totals + c, add(load(totals + c), low));
        store(totals + c + kSide, add(load(totals + c + kSide), high));
        F::put(out + c / kDepth * kTile, low, high);
      }
    }
    if (!d_y) continue;
    multiply<F>(grad, r, end, back, 2 * depth, [&](int64_t tile, int64_t c, const float* pair) {
      OutputTile{d_y + tile * kSide * width + c * kSide, rows - tile * kSide, width - c * kSide, width}.write(pair);
    });
  }
  if (!d_y) return;
  std::memcpy(d_bias, totals, states * sizeof(float));
  multiply_transposed<F>(grad, columns, in, 2 * depth, all, memory<N>.transpose_buffers, [&](int64_t a, int64_t c) {
    return OutputTile{d_w + a * kSide * width + c * kSide, states - a * kSide, width - c * kSide, width};
  });
}

}  // namespace
