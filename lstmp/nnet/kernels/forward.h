// An LSTMP layer over a whole chunk. lstmp/nnet/cell.py has the equations.
#pragma once
#include "elements.h"
#include "layer.h"

namespace {

// `sizes`: frames T, streams N, inputs I, cells C, recurrent projections R (C without any), others P. In: `x` [T, N, I],
// `r_0` [N, R], `c_0` [N, C], weights `w_x` [4C, I], `w_r` [4C, R], `bias` [4C], `peep` [3C] or null, `w_rm` [R, C] or null,
// `w_pm` [P, C] or null. Out: `y` [T, N, R + P] and `c_last` [N, C]; for the way back, in blocks, `gates` (activations; of c σ(2 x)),
// `cell` (frames + 1), and, as factors, where there is a projection, `m` (o · tanh(cell)).
template <class F, typename N = typename F::Number, class K = typename F::Kept, typename A = typename K::Number>
void forward(const int64_t* sizes, const float* x, const float* r_0, float* c_0, const float* w_x, const float* w_r,
             const float* bias, const float* peep, const float* w_rm, const float* w_pm, float clip, float* y,
             float* c_last, A* gates, float* cell, N* m) {
  const Layer l(sizes, w_rm != nullptr);
  const int64_t rows = l.rows(), blocks = l.blocks(), frame_cells = rows * blocks * kSums;
  float* vectors = memory<N>.sums.at_least(7 * l.wide());
  const float *b = padded(l, bias, 4, vectors), *p = padded(l, peep, 3, vectors + 4 * l.wide());
  const Blocked<A> act{gates, 2 * blocks};
  [[maybe_unused]] const typename F::Session session{};

  const Panel<N> by_x = gates_from<F>(l, w_x, l.inputs, memory<N>.weights);
  const Panel<N> by_r = gates_from<F>(l, w_r, l.recs, memory<N>.weights_rec);
  const Panel<N> by_m = l.projected ? projections_of<F>(l, w_rm, w_pm) : Panel<N>{};
  const Blocked<N> in{memory<N>.input.at_least(l.all_rows() * l.depth_in() * kTile), l.depth_in()};
  for (int64_t t = 0; t < l.frames; ++t)
    block<F>(in.from(t * rows), 0, x + t * l.streams * l.inputs, l.streams, l.inputs, l.inputs);
  if (!l.together)  // what the gates get from x lies where their activations will
    multiply<F>(in, 0, l.all_rows(), by_x, 4 * blocks,
                [&](int64_t r, int64_t c, const float* pair) { put_sums<K>(act.tile(r, c / 2), pair); });

  // r of the frame before and, without projection, that of this one
  const int64_t r_size = rows * l.depth_recs() * kTile;
  N* r_memory = memory<N>.step.zeros(2 * r_size);
  Blocked<N> rec{r_memory, l.depth_recs()}, next{r_memory + r_size, l.depth_recs()};
  block<F>(rec, 0, r_0, l.streams, l.recs, l.recs);
  cells_in_blocks<true>(l, c_0, cell);
  const __m512 top = _mm512_set1_ps(clip), bottom = _mm512_set1_ps(-clip), one = _mm512_set1_ps(1.0f), two = _mm512_set1_ps(2.0f);
  alignas(64) float inputs[kBand * 4 * kSums];  // of the gates of 16 cells
  for (int64_t t = 0; t < l.frames; ++t) {
    float* y_t = y + t * l.streams * l.up();
    const Blocked<N> out = l.projected ? Blocked<N>{m, l.depth_cells()}.from(t * rows) : next;
    for (int64_t k = 0; k < blocks; ++k) {
      const int64_t w = l.wide(), at = k * kSide;
      const __m512 p_i = _mm512_load_ps(p + at), p_f = _mm512_load_ps(p + w + at), p_o = _mm512_load_ps(p + 2 * w + at);
      const __m512 b_k[4] = {_mm512_load_ps(b + at), _mm512_load_ps(b + w + at), _mm512_load_ps(b + 2 * w + at),
                             _mm512_load_ps(b + 3 * w + at)};
      for (int64_t first = 0; first < rows; first += kBand) {
        const int64_t band = std::min(kBand, rows - first);
        if (l.together) F::times(in.from(t * rows + first), band, by_x, 4 * k, 4, by_x.depths, inputs, false);
        F::times(rec.from(first), band, by_r, 4 * k, 4, by_r.depths, inputs, l.together);
        for (int64_t r = first; r < first + band; ++r) {
          const float *sums = inputs + (r - first) * 4 * kSums, *old = cell + t * frame_cells + (r * blocks + k) * kSums;
          float* now = cell + (t + 1) * frame_cells + (r * blocks + k) * kSums;
          A *i_f = act.tile(t * rows + r, 2 * k), *c_o = i_f + kTile;
          N* to = out.tile(r, k / 2);
          for (int64_t n = 0; n < kSide; ++n, i_f += kDepth, c_o += kDepth, to += kDepth) {
            ask_for(i_f + 2 * kTile, kDepth), ask_for(c_o + 2 * kTile, kDepth);  // of the next block
            const auto input = [&](int64_t g, const A* from_x) {
              const __m512 sum = _mm512_add_ps(_mm512_load_ps(sums + kSums * g + n * kSide), b_k[g]);
              return l.together ? sum : _mm512_add_ps(sum, K::get(from_x, g % 2));
            };
            const __m512 before = _mm512_load_ps(old + n * kSide);
            const __m512 i = sigmoid(_mm512_fmadd_ps(p_i, before, input(0, i_f)));
            const __m512 f = sigmoid(_mm512_fmadd_ps(p_f, before, input(1, i_f)));
            const __m512 input_c = input(2, c_o), s_c = sigmoid(_mm512_add_ps(input_c, input_c));
            const __m512 g = _mm512_fmsub_ps(two, s_c, one);  // tanh(x) = 2 σ(2 x) − 1
            const __m512 c = _mm512_max_ps(bottom, _mm512_min_ps(top, _mm512_fmadd_ps(f, before, _mm512_mul_ps(i, g))));
            const __m512 o = sigmoid(_mm512_fmadd_ps(p_o, c, input(3, c_o)));
            const __m512 result = _mm512_mul_ps(o, tanh_(c));
            _mm512_store_ps(now + n * kSide, c);
            K::put(i_f, K::kept(i), K::kept(f));
            K::put(c_o, K::kept(s_c), K::kept(o));
            F::put(to, k % 2, result);
            if (!l.projected && r * kSide + n < l.streams)
              _mm512_mask_storeu_ps(y_t + (r * kSide + n) * l.up() + at, mask_of(l.cells - at), result);
          }
        }
      }
    }
    if (!l.projected) {
      const Blocked<N> swap = rec;
      rec = next, next = swap;
      continue;
    }
    multiply<F>(out, 0, rows, by_m, 2 * l.depth_up(), [&](int64_t r, int64_t c, const float* pair) {
      const bool recurs = c < 2 * l.depth_recs();
      const int64_t first = recurs ? c * kSide : l.recs + (c - 2 * l.depth_recs()) * kSide;
      Place{y_t + r * kSide * l.up() + first, l.streams - r * kSide, (recurs ? l.recs : l.up()) - first, l.up()}.take(pair);
      if (recurs) put_sums<F>(rec.tile(r, c / 2), pair);
    });
  }
  cells_in_blocks<false>(l, c_last, cell + l.frames * frame_cells);
}

}  // namespace
