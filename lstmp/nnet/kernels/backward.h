// The backward pass of an LSTMP layer over a whole chunk.
#pragma once
#include "elements.h"
#include "layer.h"

namespace {

// In: the inputs and outputs of the forward pass; `d_y` [T, N, R + P]; `d_c` [N, C], the gradient of the last cells.
// Out: `d_c`, now the gradient of c_0; `d_x` [T, N, I] and `d_r0` [N, R] unless null; the gradients of the weights, null for
// absent weights.
template <class F, typename N = typename F::Number, class K = typename F::Stored, typename A = typename K::Number>
void backward(const int64_t* sizes, const float* x, const float* r_0, const float* w_x, const float* w_r,
              const float* peep, const float* w_rm, const float* w_pm, float clip, const float* y, A* gates,
              const float* cell, N* m, const float* d_y, float* d_c, float* d_x, float* d_r0, float* d_w_x, float* d_w_r,
              float* d_bias, float* d_peep, float* d_w_rm, float* d_w_pm) {
  const Layer l(sizes, w_rm != nullptr);
  const int64_t rows = l.rows(), all = l.all_rows(), blocks = l.blocks(), frame_cells = rows * blocks * kSums, wide_c = l.wide();
  float* vectors = memory<N>.sums.reserve(10 * wide_c);
  const float* p = padded(l, peep, 3, vectors);
  float* totals = vectors + 3 * wide_c;  // gradients of the bias, then of the peepholes
  padded(l, nullptr, 7, totals);
  const Blocked<A> act{gates, 2 * blocks};
  const Blocked<N> d_act{memory<N>.d_gates.reserve(all * 2 * blocks * kTile), 2 * blocks};
  const Blocked<N> d_rp{memory<N>.d_rp.reserve(all * l.depth_rp() * kTile), l.depth_rp()};  // gradient of r and p
  float* dc = memory<N>.cell.reserve(frame_cells);
  cells_in_blocks<true>(l, d_c, dc);
  float* d_m = l.projected ? nullptr : memory<N>.plain.zeros(frame_cells);  // gradient of m = r without projection
  const Panel<N> w_r_panel = pack_gate_weights_backward<F>(l, w_r, l.recs, memory<N>.weights_rec);
  Panel<N> w_rp_panel{};
  if (l.projected) {
    w_rp_panel = {memory<N>.weights_rp.reserve(blocks * l.depth_rp() * kTile), l.depth_rp()};
    pack_right<F>(w_rp_panel, 0, w_rm, l.recs, l.cells, blocks);
    if (w_pm) pack_right<F>(w_rp_panel, l.depth_recs(), w_pm, l.others, l.cells, blocks);
  }
  [[maybe_unused]] const typename F::Session session{};
  const Floats top = set(clip), bottom = set(-clip), one = set(1.0f);
  const Floats two = set(2.0f), four = set(4.0f);
  alignas(64) float d_outs[kBand * 4 * kSums];  // gradients of m, for four blocks
  const auto to_rows = [&](float* to, int64_t width) {  // writes sums to the rows of a frame's streams
    return [=](int64_t r, int64_t c, const float* pair) {
      const int64_t t = r / rows, n = r % rows * kSide;
      OutputTile{to + (t * l.streams + n) * width + c * kSide, l.streams - n, width - c * kSide, width}.write(pair);
    };
  };
  const Panel<N> w_x_panel = d_x ? pack_gate_weights_backward<F>(l, w_x, l.inputs, memory<N>.weights) : Panel<N>{};
  const auto multiply_d_x = [&](int64_t from, int64_t to) {
    if (d_x) multiply<F>(d_act, from * rows, to * rows, w_x_panel, 2 * l.depth_in(), to_rows(d_x, l.inputs));
  };
  for (int64_t t = l.frames - 1; t >= 0; --t) {
    const float* d_y_t = d_y + t * l.streams * l.width_rp();
    const Blocked<N> d_rp_t = d_rp.from(t * rows);
    if (l.others) pack_left<F>(d_rp_t, l.depth_recs(), d_y_t + l.recs, l.streams, l.others, l.width_rp());
    // the gradient of r: d_y plus what comes from the next frame
    const auto add_d_y = [&](int64_t r, int64_t c, const float* pair) {
      for (int64_t n = 0; n < kSide; ++n) {
        const int64_t left = r * kSide + n < l.streams ? l.recs - c * kSide : 0;
        const float* from = d_y_t + (r * kSide + n) * l.width_rp() + c * kSide;
        Floats low = load(from, lanes(left)), high = load(from + kSide, lanes(left - kSide));
        if (pair) {
          low = add(low, load(pair + n * kSide));
          high = add(high, load(pair + kSums + n * kSide));
        }
        if (d_m) {
          float* to = d_m + (r * blocks + c) * kSums + n * kSide;
          store(to, low), store(to + kSums, high);
        } else {
          F::put(d_rp_t.tile(r, c / 2) + n * kDepth, low, high);
        }
      }
    };
    if (t + 1 < l.frames) {
      multiply<F>(d_act.from((t + 1) * rows), 0, rows, w_r_panel, 2 * l.depth_recs(), add_d_y);
      if (l.input_per_frame) multiply_d_x(t + 1, t + 2);
    } else {
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < 2 * l.depth_recs(); c += 2) add_d_y(r, c, nullptr);
    }
    for (int64_t k = 0; k < blocks; k += 4) {
      const int64_t group = std::min<int64_t>(4, blocks - k);
      for (int64_t first = 0; first < rows; first += kBand) {
        const int64_t band = std::min(kBand, rows - first);
        if (l.projected) F::times(d_rp_t.from(first), band, w_rp_panel, k, group, w_rp_panel.depths, d_outs, false);
        for (int64_t j = 0; j < group; ++j) {
          const int64_t at = (k + j) * kSide;
          const Floats p_i = load(p + at), p_f = load(p + wide_c + at), p_o = load(p + 2 * wide_c + at);
          Floats t_i = zero(), t_f = t_i, t_c = t_i, t_o = t_i, t_pi = t_i, t_pf = t_i, t_po = t_i;
          for (int64_t r = first; r < first + band; ++r) {
            const int64_t block = (r * blocks + k + j) * kSums;
            const float* d_out = l.projected ? d_outs + ((r - first) * group + j) * kSums : d_m + block;
            const float *c_prev = cell + t * frame_cells + block, *c_now = c_prev + frame_cells;
            float* d_cell = dc + block;
            const A *i_f = act.tile(t * rows + r, 2 * (k + j)), *c_o = i_f + kTile;
            N *d_i_f = d_act.tile(t * rows + r, 2 * (k + j)), *d_c_o = d_i_f + kTile;
            for (int64_t n = 0; n < kSide; ++n, i_f += kDepth, c_o += kDepth, d_i_f += kDepth, d_c_o += kDepth) {
              for (const A* next : {i_f, c_o}) prefetch(next + group * 2 * kTile, kDepth);  // the next blocks'
              for (const N* next : {d_i_f, d_c_o}) prefetch(next + group * 2 * kTile, kDepth);
              const Floats dm = load(d_out + n * kSide), prev = load(c_prev + n * kSide);
              const Floats c = load(c_now + n * kSide), tc = tanh_(c);
              const Floats k_i = K::get(i_f, 0), k_f = K::get(i_f, 1), k_c = K::get(c_o, 0), k_o = K::get(c_o, 1);
              const Floats i = K::decode_gate(k_i), f = K::decode_gate(k_f), o = K::decode_gate(k_o), s_c = K::decode_gate(k_c);
              const Floats g = fmsub(two, s_c, one);
              const Floats d_o = mul(mul(dm, tc), mul(o, K::decode_one_minus_gate(k_o)));
              Floats grad = fmadd(mul(dm, o), fnmadd(tc, tc, one), load(d_cell + n * kSide));
              grad = fmadd(d_o, p_o, grad);
              grad = zero_outside(grad, c, bottom, top);  // a clipped cell passes no gradient
              const Floats d_i = mul(mul(grad, g), mul(i, K::decode_one_minus_gate(k_i)));
              const Floats d_f = mul(mul(grad, prev), mul(f, K::decode_one_minus_gate(k_f)));
              const Floats d_g = mul(mul(grad, i),
                                     mul(four, mul(s_c, K::decode_one_minus_gate(k_c))));
              store(d_cell + n * kSide, fmadd(d_i, p_i, fmadd(d_f, p_f, mul(grad, f))));
              F::put(d_i_f, d_i, d_f);
              F::put(d_c_o, d_g, d_o);
              t_i = add(t_i, d_i), t_f = add(t_f, d_f), t_c = add(t_c, d_g);
              t_o = add(t_o, d_o);
              t_pi = fmadd(d_i, prev, t_pi), t_pf = fmadd(d_f, prev, t_pf);
              t_po = fmadd(d_o, c, t_po);
            }
          }
          const Floats added[7] = {t_i, t_f, t_c, t_o, t_pi, t_pf, t_po};
          for (int64_t q = 0; q < 7; ++q) {
            float* to = totals + q * wide_c + at;
            store(to, add(load(to), added[q]));
          }
        }
      }
    }
  }
  cells_in_blocks<false>(l, d_c, dc);
  for (int64_t g = 0; g < 4; ++g) std::memcpy(d_bias + g * l.cells, totals + g * wide_c, l.cells * sizeof(float));
  for (int64_t g = 0; peep && g < 3; ++g)
    std::memcpy(d_peep + g * l.cells, totals + (4 + g) * wide_c, l.cells * sizeof(float));

  if (d_r0) multiply<F>(d_act, 0, rows, w_r_panel, 2 * l.depth_recs(), to_rows(d_r0, l.recs));
  multiply_d_x(0, l.input_per_frame ? 1 : l.frames);

  // Gradients of the weights, summed over all frames: W_x and W_r from x and the previous frame's r, then the projections.
  const Blocked<N> in{memory<N>.input.reserve(all * (l.depth_in() + l.depth_recs()) * kTile), l.depth_in() + l.depth_recs()};
  for (int64_t t = 0; t < l.frames; ++t) {
    pack_left<F>(in.from(t * rows), 0, x + t * l.streams * l.inputs, l.streams, l.inputs, l.inputs);
    pack_left<F>(in.from(t * rows), l.depth_in(), t ? y + (t - 1) * l.streams * l.width_rp() : r_0, l.streams, l.recs,
                 t ? l.width_rp() : l.recs);
  }
  multiply_transposed<F>(d_act, 4 * blocks, in, 2 * in.depths, all, memory<N>.transpose_buffers, [&](int64_t a, int64_t c) {
    const bool from_x = c < 2 * l.depth_in();
    const int64_t width = from_x ? l.inputs : l.recs, column = (from_x ? c : c - 2 * l.depth_in()) * kSide;
    const int64_t gate = a % 4, cell = a / 4 * kSide;
    return OutputTile{(from_x ? d_w_x : d_w_r) + (gate * l.cells + cell) * width + column, l.cells - cell, width - column, width};
  });
  if (!l.projected) return;
  multiply_transposed<F>(d_rp, 2 * l.depth_rp(), Blocked<N>{m, l.depth_cells()}, blocks, all, memory<N>.transpose_buffers,
                         [&](int64_t a, int64_t c) {
    const bool recurs = a < 2 * l.depth_recs();
    const int64_t first = (recurs ? a : a - 2 * l.depth_recs()) * kSide;
    return OutputTile{(recurs ? d_w_rm : d_w_pm) + first * l.cells + c * kSide, (recurs ? l.recs : l.others) - first,
                      l.cells - c * kSide, l.cells};
  });
}

}  // namespace
