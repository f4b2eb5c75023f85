// The products of a dense layer.
#pragma once
#include "layer.h"

namespace {

// Computes y = x wᵀ + bias. In: `x` [rows, I], `w` [O, I], `bias` [O]. Out: `y` [rows, O].
template <class F, typename N = typename F::Number>
void affine(int64_t rows, int64_t inputs, int64_t outputs, const float* x, const float* w, const float* bias, float* y) {
  const int64_t all = tiles_of(rows, kSide), depth = tiles_of(inputs, kDepth);
  const Blocked<N> in{memory<N>.input.reserve(all * depth * kTile), depth};
  pack_left<F>(in, 0, x, rows, inputs, inputs);
  const Panel<N> weights = pack_weights<F>(w, outputs, inputs, memory<N>.weights);
  [[maybe_unused]] const typename F::Session session{};
  multiply<F>(in, 0, all, weights, 2 * tiles_of(outputs, kDepth), [&](int64_t tile, int64_t c, const float* pair) {
    const int64_t from = tile * kSide, column = c * kSide;
    const OutputTile out{y + from * outputs + column, rows - from, outputs - column, outputs};
    const Lanes low = lanes(out.columns), high = lanes(out.columns - kSide);
    const Floats bias_low = load(bias + column, low), bias_high = load(bias + column + kSide, high);
    out.each([&](float* row, int64_t n) {
      store(row, low, add(load(pair + n * kSide), bias_low));
      store(row + kSide, high, add(load(pair + kSums + n * kSide), bias_high));
    });
  });
}

// Computes the gradients of x and w from `d_y` [rows, O]. Out: `d_x` [rows, I] unless null; `d_w` [O, I].
template <class F, typename N = typename F::Number>
void affine_backward(int64_t rows, int64_t inputs, int64_t outputs, const float* x, const float* w, const float* d_y,
                     float* d_x, float* d_w) {
  const int64_t all = tiles_of(rows, kSide), depth = tiles_of(inputs, kDepth), depth_out = tiles_of(outputs, kDepth);
  const Blocked<N> in{memory<N>.input.reserve(all * depth * kTile), depth};
  const Blocked<N> grad{memory<N>.d_gates.reserve(all * depth_out * kTile), depth_out};
  pack_left<F>(in, 0, x, rows, inputs, inputs);
  pack_left<F>(grad, 0, d_y, rows, outputs, outputs);
  const Panel<N> back = d_x ? pack_weights_backward<F>(w, outputs, inputs, memory<N>.weights_rec) : Panel<N>{};
  [[maybe_unused]] const typename F::Session session{};
  if (d_x)
    multiply<F>(grad, 0, all, back, 2 * depth, [&](int64_t tile, int64_t c, const float* pair) {
      const int64_t from = tile * kSide, column = c * kSide;
      OutputTile{d_x + from * inputs + column, rows - from, inputs - column, inputs}.write(pair);
    });
  multiply_transposed<F>(grad, 2 * depth_out, in, 2 * depth, all, memory<N>.transpose_buffers, [&](int64_t a, int64_t c) {
    return OutputTile{d_w + a * kSide * inputs + c * kSide, outputs - a * kSide, inputs - c * kSide, inputs};
  });
}

}  // namespace
