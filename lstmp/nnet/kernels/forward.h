// The forward pass of an LSTMP layer over a whole chunk. lstmp/nnet/cell.py has the equations.
#pragma once
#include "elements.h"
#include "layer.h"

namespace {

// `sizes`: frames T, streams N, inputs I, cells C, recurrent projections R (C without any), other projections P.
// In: `x` [T, N, I], `r_0` [N, R], `c_0` [N, C], weights `w_x` [4C, I], `w_r` [4C, R], `bias` [4C], `peep` [3C] or null,
// `w_rm` [R, C] or null, `w_pm` [P, C] or null. Out: `y` [T, N, R + P] and `c_last` [N, C]. Out, for the backward pass:
// `gates` (activations, in blocks; for gate c it is σ(2 x), not tanh x), `cell` (T + 1 frames, in blocks), and with a
// projection `m` = o · tanh(cell), packed as a left factor.
template <class F, typename N = typename F::Number, class K = typename F::Stored, typename A = typename K::Number>
void forward(const int64_t* sizes, const float* x, const float* r_0, float* c_0, const float* w_x, const float* w_r,
             const float* bias, const float* peep, const float* w_rm, const float* w_pm, float clip, float* y,
             float* c_last, A* gates, float* cell, N* m) {
  const Layer l(sizes, w_rm != nullptr);
  const int64_t rows = l.rows(), blocks = l.blocks(), frame_cells = rows * blocks * kSums;
  float* vectors = memory<N>.sums.reserve(7 * l.wide());
  const float *b = padded(l, bias, 4, vectors), *p = padded(l, peep, 3, vectors + 4 * l.wide());
  const Blocked<A> act{gates, 2 * blocks};
  [[maybe_unused]] const typename F::Session session{};

  const Panel<N> w_x_panel = pack_gate_weights<F>(l, w_x, l.inputs, memory<N>.weights);
  const Panel<N> w_r_panel = pack_gate_weights<F>(l, w_r, l.recs, memory<N>.weights_rec);
  const Panel<N> w_rp_panel = l.projected ? pack_projection_weights<F>(l, w_rm, w_pm) : Panel<N>{};
  const Blocked<N> in{memory<N>.input.reserve(l.all_rows() * l.depth_in() * kTile), l.depth_in()};
  for (int64_t t = 0; t < l.frames; ++t)
    pack_left<F>(in.from(t * rows), 0, x + t * l.streams * l.inputs, l.streams, l.inputs, l.inputs);
  if (!l.input_per_frame)  // W_x x is stored where the activations will be
    multiply<F>(in, 0, l.all_rows(), w_x_panel, 4 * blocks,
                [&](int64_t r, int64_t c, const float* pair) { put_sums<K>(act.tile(r, c / 2), pair); });

  // r of the previous frame and, without projection, of this frame
  const int64_t r_size = rows * l.depth_recs() * kTile;
  N* r_memory = memory<N>.step.zeros(2 * r_size);
  Blocked<N> rec{r_memory, l.depth_recs()}, next{r_memory + r_size, l.depth_recs()};
  pack_left<F>(rec, 0, r_0, l.streams, l.recs, l.recs);
  cells_in_blocks<true>(l, c_0, cell);
  const Floats top = set(clip), bottom = set(-clip);
  alignas(64) float inputs[kBand * 4 * kSums];  // to the gates of 16 cells
  for (int64_t t = 0; t < l.frames; ++t) {
    float* y_t = y + t * l.streams * l.width_rp();
    const Blocked<N> out = l.projected ? Blocked<N>{m, l.depth_cells()}.from(t * rows) : next;
    for (int64_t k = 0; k < blocks; ++k) {
      const int64_t w = l.wide(), at = k * kSide;
      const Floats p_i = load(p + at), p_f = load(p + w + at), p_o = load(p + 2 * w + at);
      const Floats b_k[4] = {load(b + at), load(b + w + at), load(b + 2 * w + at),
                             load(b + 3 * w + at)};
      for (int64_t first = 0; first < rows; first += kBand) {
        const int64_t band = std::min(kBand, rows - first);
        if (l.input_per_frame) F::times(in.from(t * rows + first), band, w_x_panel, 4 * k, 4, w_x_panel.depths, inputs, false);
        F::times(rec.from(first), band, w_r_panel, 4 * k, 4, w_r_panel.depths, inputs, l.input_per_frame);
        for (int64_t r = first; r < first + band; ++r) {
          const float *sums = inputs + (r - first) * 4 * kSums, *c_prev = cell + t * frame_cells + (r * blocks + k) * kSums;
          float* c_now = cell + (t + 1) * frame_cells + (r * blocks + k) * kSums;
          A *i_f = act.tile(t * rows + r, 2 * k), *c_o = i_f + kTile;
          N* to = out.tile(r, k / 2);
          for (int64_t n = 0; n < kSide; ++n, i_f += kDepth, c_o += kDepth, to += kDepth) {
            prefetch(i_f + 2 * kTile, kDepth), prefetch(c_o + 2 * kTile, kDepth);  // the next block's
            const auto input = [&](int64_t g, const A* from_x) {
              const Floats sum = add(load(sums + kSums * g + n * kSide), b_k[g]);
              return l.input_per_frame ? sum : add(sum, K::get(from_x, g % 2));
            };
            const CellStep step(input(0, i_f), input(1, i_f), input(2, c_o), input(3, c_o), load(c_prev + n * kSide), p_i, p_f, p_o,
                                bottom, top);
            store(c_now + n * kSide, step.c);
            K::put(i_f, K::encode_gate(step.i), K::encode_gate(step.f));
            K::put(c_o, K::encode_gate(step.s_c), K::encode_gate(step.o));
            F::put(to, k % 2, step.m);
            if (!l.projected && r * kSide + n < l.streams)
              store(y_t + (r * kSide + n) * l.width_rp() + at, lanes(l.cells - at), step.m);
          }
        }
      }
    }
    if (!l.projected) {
      const Blocked<N> swap = rec;
      rec = next, next = swap;
      continue;
    }
    multiply<F>(out, 0, rows, w_rp_panel, 2 * l.depth_rp(), [&](int64_t r, int64_t c, const float* pair) {
      const bool recurs = c < 2 * l.depth_recs();
      const int64_t first = recurs ? c * kSide : l.recs + (c - 2 * l.depth_recs()) * kSide;
      OutputTile{y_t + r * kSide * l.width_rp() + first, l.streams - r * kSide,
                 (recurs ? l.recs : l.width_rp()) - first, l.width_rp()}
          .write(pair);
      if (recurs) put_sums<F>(rec.tile(r, c / 2), pair);
    });
  }
  cells_in_blocks<false>(l, c_last, cell + l.frames * frame_cells);
}

}  // namespace
