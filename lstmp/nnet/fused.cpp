// LSTMP layers over a whole chunk, and the output layer with its cross entropy, forward and backward: float32 on AVX-512,
// bfloat16 on AMX (matrices.h). The element-wise part of each frame is applied to a product's tiles while they are in the
// first cache. lstmp/nnet/cell.py has the equations, lstmp/nnet/fused.py calls this.
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#include "matrices.h"

#include <cmath>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

template <typename N>
struct Memory {
  Buffer<N> weights, weights_rec, weights_up, input, turned, step, d_gates, d_up, scratch;
  Buffer<float> plain, sums, cell;
};
template <typename N>
thread_local Memory<N> memory;

const float* row_of(const float* w, int64_t row, int64_t ld) { return w + row * ld; }

// A layer's sizes. Streams are padded to 16, cells and projections to 32. Cells go in blocks of 16, and what belongs to a
// block's gates lies side by side: column 4 b + g of 16 are gate g (i, f, c, o) of block b.
struct Layer {
  int64_t frames, streams, inputs, cells, recs, others;  // others: non-recurrent projections
  bool projected;
  int64_t rows() const { return tiles_of(streams, kSide); }  // row tiles of a frame
  int64_t all_rows() const { return frames * rows(); }
  int64_t depth_in() const { return tiles_of(inputs, kDepth); }
  int64_t depth_cells() const { return tiles_of(cells, kDepth); }
  int64_t depth_recs() const { return tiles_of(recs, kDepth); }
  int64_t depth_up() const { return depth_recs() + tiles_of(others, kDepth); }
  int64_t blocks() const { return 2 * depth_cells(); }
  int64_t wide() const { return kDepth * depth_cells(); }
  int64_t up() const { return recs + others; }  // what goes up: r and p
};

// Weights of the gates, [4C, k], as the factor of x wᵀ.
template <class F, typename N = typename F::Number>
Panel<N> gates_from(const Layer& l, const float* w, int64_t k, Buffer<N>& buffer) {
  const int64_t depths = tiles_of(k, kDepth);
  const Panel<N> p{buffer.at_least(4 * l.blocks() * depths * kTile), depths};
  for (int64_t b = 0; b < l.blocks(); ++b)
    for (int64_t g = 0; g < 4; ++g)
      pack_transposed<F>(p, 4 * b + g, row_of(w, g * l.cells + b * kSide, k), l.cells - b * kSide, k);
  return p;
}

// The same weights, [4C, n], as the factor of d_gates w.
template <class F, typename N = typename F::Number>
Panel<N> gates_to(const Layer& l, const float* w, int64_t n, Buffer<N>& buffer) {
  const int64_t columns = 2 * tiles_of(n, kDepth);
  const Panel<N> p{buffer.at_least(2 * l.blocks() * columns * kTile), 2 * l.blocks()};
  for (int64_t c = 0; c < columns; ++c)
    for (int64_t d = 0; d < p.depths; ++d)
      F::put_right(p.tile(c, d), [&](int64_t r) {
        const int64_t gate = d % 2 * 2 + r / kSide, cell = d / 2 * kSide + r % kSide;
        return part(row_of(w, gate * l.cells + cell, n) + c * kSide, cell < l.cells ? mask_of(n - c * kSide) : 0);
      });
  return p;
}

// Weights of the projections, r's [R, C] over p's [P, C], as the factor of m wᵀ.
template <class F, typename N = typename F::Number>
Panel<N> projections_of(const Layer& l, const float* w_rm, const float* w_pm) {
  const Panel<N> p{memory<N>.weights_up.at_least(2 * l.depth_up() * l.depth_cells() * kTile), l.depth_cells()};
  for (int64_t c = 0; c < 2 * l.depth_recs(); ++c) pack_transposed<F>(p, c, row_of(w_rm, c * kSide, l.cells), l.recs - c * kSide, l.cells);
  for (int64_t c = 0; c < 2 * (l.depth_up() - l.depth_recs()); ++c)
    pack_transposed<F>(p, 2 * l.depth_recs() + c, row_of(w_pm, c * kSide, l.cells), l.others - c * kSide, l.cells);
  return p;
}

// Vectors [vectors][C] padded with zeros, [vectors][wide].
const float* padded(const Layer& l, const float* from, int64_t vectors, float* to) {
  std::memset(to, 0, vectors * l.wide() * sizeof(float));
  for (int64_t v = 0; from && v < vectors; ++v) std::memcpy(to + v * l.wide(), from + v * l.cells, l.cells * sizeof(float));
  return to;
}

// Cells of one frame in blocks [row tile][block][16][16], from or to [streams, C].
template <bool kIn>
void cells_in_blocks(const Layer& l, float* rows, float* blocks) {
  for (int64_t r = 0; r < l.rows(); ++r)
    for (int64_t b = 0; b < l.blocks(); ++b, blocks += 256)
      for (int64_t n = 0; n < kSide; ++n) {
        const bool there = r * kSide + n < l.streams;
        const __mmask16 mask = there ? mask_of(l.cells - b * kSide) : 0;
        float* place = rows + (r * kSide + n) * l.cells + b * kSide;
        if (kIn) _mm512_store_ps(blocks + n * kSide, part(place, mask));
        else _mm512_mask_storeu_ps(place, mask, _mm512_load_ps(blocks + n * kSide));
      }
}

// `sizes`: frames T, streams N, inputs I, cells C, recurrent projections R (C without any), others P. In: `x` [T, N, I],
// `r_0` [N, R], `c_0` [N, C], weights `w_x` [4C, I], `w_r` [4C, R], `bias` [4C], `peep` [3C] or null, `w_rm` [R, C] or null,
// `w_pm` [P, C] or null. Out: `y` [T, N, R + P] and `c_last` [N, C]; for the way back, in blocks, `gates` (activations; of c σ(2 x)),
// `cell` (frames + 1), and, where there is a projection, `m` (o · tanh(cell)).
template <class F, typename N = typename F::Number>
void forward(const int64_t* sizes, const float* x, const float* r_0, float* c_0, const float* w_x, const float* w_r,
             const float* bias, const float* peep, const float* w_rm, const float* w_pm, float clip, float* y,
             float* c_last, N* gates, float* cell, N* m) {
  const Layer l{sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], w_rm != nullptr};
  const int64_t rows = l.rows(), blocks = l.blocks(), frame_cells = rows * blocks * 256;
  float* vectors = memory<N>.sums.at_least(7 * l.wide());
  const float *b = padded(l, bias, 4, vectors), *p = padded(l, peep, 3, vectors + 4 * l.wide());
  const Blocked<N> act{gates, 2 * blocks};
  [[maybe_unused]] const typename F::Session session{};

  // what the gates get from x, all frames at once
  const Panel<N> by_x = gates_from<F>(l, w_x, l.inputs, memory<N>.weights);
  const Blocked<N> in{memory<N>.input.at_least(l.all_rows() * l.depth_in() * kTile), l.depth_in()};
  for (int64_t t = 0; t < l.frames; ++t)
    block<F>(in.from(t * rows), 0, x + t * l.streams * l.inputs, l.streams, l.inputs, l.inputs);
  multiply<F>(in, 0, l.all_rows(), by_x, 4 * blocks, [&](int64_t r, int64_t c, const float* sums) {
    N* out = act.tile(r, c / 2);
    for (int64_t n = 0; n < kSide; ++n)
      F::put(out + n * kDepth, _mm512_load_ps(sums + n * kSide), _mm512_load_ps(sums + 256 + n * kSide));
  });

  const Panel<N> by_r = gates_from<F>(l, w_r, l.recs, memory<N>.weights);
  const Panel<N> by_m = l.projected ? projections_of<F>(l, w_rm, w_pm) : Panel<N>{};
  // r of the frame before and, without projection, that of this one
  const int64_t r_size = rows * l.depth_recs() * kTile;
  N* r_memory = memory<N>.step.zeros(2 * r_size);
  Blocked<N> rec{r_memory, l.depth_recs()}, next{r_memory + r_size, l.depth_recs()};
  block<F>(rec, 0, r_0, l.streams, l.recs, l.recs);
  cells_in_blocks<true>(l, c_0, cell);
  const __m512 top = _mm512_set1_ps(clip), bottom = _mm512_set1_ps(-clip), one = _mm512_set1_ps(1.0f), two = _mm512_set1_ps(2.0f);
  alignas(64) float sums[4 * 256];
  for (int64_t t = 0; t < l.frames; ++t) {
    float* y_t = y + t * l.streams * l.up();
    const Blocked<N> out = l.projected ? Blocked<N>{m, l.depth_cells()}.from(t * rows) : next;
    for (int64_t k = 0; k < blocks; ++k) {
      const int64_t w = l.wide(), at = k * kSide;
      const __m512 p_i = _mm512_load_ps(p + at), p_f = _mm512_load_ps(p + w + at), p_o = _mm512_load_ps(p + 2 * w + at);
      const __m512 b_k[4] = {_mm512_load_ps(b + at), _mm512_load_ps(b + w + at), _mm512_load_ps(b + 2 * w + at),
                             _mm512_load_ps(b + 3 * w + at)};
      const N* w_k[4];
      for (int64_t g = 0; g < 4; ++g) w_k[g] = by_r.tile(4 * k + g, 0);
      for (int64_t r = 0; r < rows; ++r) {
        F::one_by_four(rec.tile(r, 0), w_k, by_r.depths, sums);
        const float* old = cell + t * frame_cells + (r * blocks + k) * 256;
        float* now = cell + (t + 1) * frame_cells + (r * blocks + k) * 256;
        N *i_f = act.tile(t * rows + r, 2 * k), *c_o = i_f + kTile, *to = out.tile(r, k / 2) + k % 2 * kSide;
        for (int64_t n = 0; n < kSide; ++n, i_f += kDepth, c_o += kDepth, to += kDepth) {
          const auto input = [&](int64_t g, const N* from) {
            return _mm512_add_ps(_mm512_add_ps(_mm512_load_ps(sums + 256 * g + n * kSide), b_k[g]), F::get(from));
          };
          const __m512 before = _mm512_load_ps(old + n * kSide);
          const __m512 i = sigmoid(_mm512_fmadd_ps(p_i, before, input(0, i_f)));
          const __m512 f = sigmoid(_mm512_fmadd_ps(p_f, before, input(1, i_f + kSide)));
          const __m512 input_c = input(2, c_o), s_c = sigmoid(_mm512_add_ps(input_c, input_c));
          const __m512 g = _mm512_fmsub_ps(two, s_c, one);  // tanh(x) = 2 σ(2 x) − 1
          const __m512 c = _mm512_max_ps(bottom, _mm512_min_ps(top, _mm512_fmadd_ps(f, before, _mm512_mul_ps(i, g))));
          const __m512 o = sigmoid(_mm512_fmadd_ps(p_o, c, input(3, c_o + kSide)));
          const __m512 result = _mm512_mul_ps(o, tanh_(c));
          _mm512_store_ps(now + n * kSide, c);
          F::put(i_f, F::kept(i), F::kept(f));
          F::put(c_o, F::kept(s_c), F::kept(o));
          F::put(to, result);
          if (!l.projected && r * kSide + n < l.streams)
            _mm512_mask_storeu_ps(y_t + (r * kSide + n) * l.up() + at, mask_of(l.cells - at), result);
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
      write(pair, l.streams - r * kSide, (recurs ? l.recs : l.up()) - first, y_t + r * kSide * l.up() + first, l.up());
      for (int64_t n = 0; recurs && n < kSide; ++n)
        F::put(rec.tile(r, c / 2) + n * kDepth, _mm512_load_ps(pair + n * kSide), _mm512_load_ps(pair + 256 + n * kSide));
    });
  }
  cells_in_blocks<false>(l, c_last, cell + l.frames * frame_cells);
}

// The same chunk backward. In: what the forward pass was given and left; `d_y` [T, N, R + P], `d_c` [N, C]. Out: `d_c` of
// c_0, `d_x` [T, N, I] and `d_r0` [N, R] where not null, and the gradients of the weights, those of absent ones null.
template <class F, typename N = typename F::Number>
void backward(const int64_t* sizes, const float* x, const float* r_0, const float* w_x, const float* w_r,
              const float* peep, const float* w_rm, const float* w_pm, float clip, const float* y, N* gates,
              const float* cell, N* m, const float* d_y, float* d_c, float* d_x, float* d_r0, float* d_w_x, float* d_w_r,
              float* d_bias, float* d_peep, float* d_w_rm, float* d_w_pm) {
  const Layer l{sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], w_rm != nullptr};
  const int64_t rows = l.rows(), all = l.all_rows(), blocks = l.blocks(), frame_cells = rows * blocks * 256, wide_c = l.wide();
  float* vectors = memory<N>.sums.at_least(10 * wide_c);
  const float* p = padded(l, peep, 3, vectors);
  float* totals = vectors + 3 * wide_c;  // of the bias, then of the peepholes
  padded(l, nullptr, 7, totals);
  const Blocked<N> act{gates, 2 * blocks}, d_act{memory<N>.d_gates.at_least(all * 2 * blocks * kTile), 2 * blocks};
  const Blocked<N> d_up{memory<N>.d_up.at_least(all * l.depth_up() * kTile), l.depth_up()};  // gradient of r and p
  float* dc = memory<N>.cell.at_least(frame_cells);
  cells_in_blocks<true>(l, d_c, dc);
  float* d_m = l.projected ? nullptr : memory<N>.plain.zeros(frame_cells);  // gradient of m = r where nothing projects it
  const Panel<N> by_r = gates_to<F>(l, w_r, l.recs, memory<N>.weights_rec);
  Panel<N> by_up{};
  if (l.projected) {
    by_up = {memory<N>.weights_up.at_least(blocks * l.depth_up() * kTile), l.depth_up()};
    pack<F>(by_up, 0, w_rm, l.recs, l.cells, blocks);
    if (w_pm) pack<F>(by_up, l.depth_recs(), w_pm, l.others, l.cells, blocks);
  }
  [[maybe_unused]] const typename F::Session session{};
  const __m512 top = _mm512_set1_ps(clip), bottom = _mm512_set1_ps(-clip), one = _mm512_set1_ps(1.0f), zero = _mm512_setzero_ps();
  const __m512 two = _mm512_set1_ps(2.0f), four = _mm512_set1_ps(4.0f);
  alignas(64) float sums[4 * 256];
  for (int64_t t = l.frames - 1; t >= 0; --t) {
    const float* above = d_y + t * l.streams * l.up();
    const Blocked<N> up = d_up.from(t * rows);
    if (l.others) block<F>(up, l.depth_recs(), above + l.recs, l.streams, l.others, l.up());
    // the gradient of r: from above, and from the next frame
    const auto add_above = [&](int64_t r, int64_t c, const float* pair) {
      for (int64_t n = 0; n < kSide; ++n) {
        const int64_t left = r * kSide + n < l.streams ? l.recs - c * kSide : 0;
        const float* from = above + (r * kSide + n) * l.up() + c * kSide;
        __m512 low = part(from, mask_of(left)), high = part(from + kSide, mask_of(left - kSide));
        if (pair) {
          low = _mm512_add_ps(low, _mm512_load_ps(pair + n * kSide));
          high = _mm512_add_ps(high, _mm512_load_ps(pair + 256 + n * kSide));
        }
        if (d_m) {
          float* to = d_m + (r * blocks + c) * 256 + n * kSide;
          _mm512_store_ps(to, low), _mm512_store_ps(to + 256, high);
        } else {
          F::put(up.tile(r, c / 2) + n * kDepth, low, high);
        }
      }
    };
    if (t + 1 < l.frames) {
      multiply<F>(d_act.from((t + 1) * rows), 0, rows, by_r, 2 * l.depth_recs(), add_above);
    } else {
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < 2 * l.depth_recs(); c += 2) add_above(r, c, nullptr);
    }
    for (int64_t k = 0; k < blocks; ++k) {
      const int64_t at = k * kSide;
      const __m512 p_i = _mm512_load_ps(p + at), p_f = _mm512_load_ps(p + wide_c + at), p_o = _mm512_load_ps(p + 2 * wide_c + at);
      __m512 t_i = zero, t_f = zero, t_c = zero, t_o = zero, t_pi = zero, t_pf = zero, t_po = zero;
      for (int64_t first = 0; first < rows; first += 4) {
        const int64_t count = rows - first < 4 ? rows - first : 4;
        if (l.projected) {
          const N* a[4];
          for (int64_t r = 0; r < 4; ++r) a[r] = up.tile(first + (r < count ? r : 0), 0);
          F::four_by_one(a, count, by_up.tile(k, 0), by_up.depths, sums);
        }
        for (int64_t r = first; r < first + count; ++r) {
          const float* d_out = l.projected ? sums + (r - first) * 256 : d_m + (r * blocks + k) * 256;
          const float* old = cell + t * frame_cells + (r * blocks + k) * 256;
          const float* now = old + frame_cells;
          float* later = dc + (r * blocks + k) * 256;
          const N *i_f = act.tile(t * rows + r, 2 * k), *c_o = i_f + kTile;
          N *d_i_f = d_act.tile(t * rows + r, 2 * k), *d_c_o = d_i_f + kTile;
          for (int64_t n = 0; n < kSide; ++n, i_f += kDepth, c_o += kDepth, d_i_f += kDepth, d_c_o += kDepth) {
            const __m512 dm = _mm512_load_ps(d_out + n * kSide), before = _mm512_load_ps(old + n * kSide);
            const __m512 c = _mm512_load_ps(now + n * kSide), tc = tanh_(c);
            const __m512 k_i = F::get(i_f), k_f = F::get(i_f + kSide), k_c = F::get(c_o), k_o = F::get(c_o + kSide);
            const __m512 i = F::opening(k_i), f = F::opening(k_f), o = F::opening(k_o), s_c = F::opening(k_c);
            const __m512 g = _mm512_fmsub_ps(two, s_c, one);
            const __m512 d_o = _mm512_mul_ps(_mm512_mul_ps(dm, tc), _mm512_mul_ps(o, F::closing(k_o)));
            __m512 grad = _mm512_fmadd_ps(_mm512_mul_ps(dm, o), _mm512_fnmadd_ps(tc, tc, one), _mm512_load_ps(later + n * kSide));
            grad = _mm512_fmadd_ps(d_o, p_o, grad);
            const __mmask16 clipped = _mm512_cmp_ps_mask(c, top, _CMP_GE_OQ) | _mm512_cmp_ps_mask(c, bottom, _CMP_LE_OQ);
            grad = _mm512_mask_mov_ps(grad, clipped, zero);  // a clipped cell passes no gradient
            const __m512 d_i = _mm512_mul_ps(_mm512_mul_ps(grad, g), _mm512_mul_ps(i, F::closing(k_i)));
            const __m512 d_f = _mm512_mul_ps(_mm512_mul_ps(grad, before), _mm512_mul_ps(f, F::closing(k_f)));
            const __m512 d_g = _mm512_mul_ps(_mm512_mul_ps(grad, i), _mm512_mul_ps(four, _mm512_mul_ps(s_c, F::closing(k_c))));
            _mm512_store_ps(later + n * kSide, _mm512_fmadd_ps(d_i, p_i, _mm512_fmadd_ps(d_f, p_f, _mm512_mul_ps(grad, f))));
            F::put(d_i_f, d_i, d_f);
            F::put(d_c_o, d_g, d_o);
            t_i = _mm512_add_ps(t_i, d_i), t_f = _mm512_add_ps(t_f, d_f), t_c = _mm512_add_ps(t_c, d_g);
            t_o = _mm512_add_ps(t_o, d_o);
            t_pi = _mm512_fmadd_ps(d_i, before, t_pi), t_pf = _mm512_fmadd_ps(d_f, before, t_pf);
            t_po = _mm512_fmadd_ps(d_o, c, t_po);
          }
        }
      }
      const __m512 added[7] = {t_i, t_f, t_c, t_o, t_pi, t_pf, t_po};
      for (int64_t q = 0; q < 7; ++q) {
        float* to = totals + q * wide_c + at;
        _mm512_store_ps(to, _mm512_add_ps(_mm512_load_ps(to), added[q]));
      }
    }
  }
  cells_in_blocks<false>(l, d_c, dc);
  for (int64_t g = 0; g < 4; ++g) std::memcpy(d_bias + g * l.cells, totals + g * wide_c, l.cells * sizeof(float));
  for (int64_t g = 0; peep && g < 3; ++g)
    std::memcpy(d_peep + g * l.cells, totals + (4 + g) * wide_c, l.cells * sizeof(float));

  const auto to_rows = [&](float* to, int64_t width) {  // of a frame's streams
    return [=](int64_t r, int64_t c, const float* pair) {
      const int64_t t = r / rows, n = r % rows * kSide;
      write(pair, l.streams - n, width - c * kSide, to + (t * l.streams + n) * width + c * kSide, width);
    };
  };
  if (d_r0) multiply<F>(d_act, 0, rows, by_r, 2 * l.depth_recs(), to_rows(d_r0, l.recs));
  if (d_x) multiply<F>(d_act, 0, all, gates_to<F>(l, w_x, l.inputs, memory<N>.weights), 2 * l.depth_in(), to_rows(d_x, l.inputs));

  // gradients of the weights, summed over all frames: of the gates' from x and r of the frame before, of the projections'
  const int64_t depths = tiles_of(all, 2);
  N* scratch = memory<N>.turned.at_least(2 * depths * kTile);
  const int64_t widest = l.depth_in() > l.depth_recs() ? l.depth_in() : l.depth_recs();
  const Panel<N> right{memory<N>.scratch.at_least(2 * (widest > l.depth_cells() ? widest : l.depth_cells()) * depths * kTile), depths};
  const Blocked<N> in{memory<N>.input.at_least(all * widest * kTile), 0};
  const auto of_gates = [&](float* to, int64_t width) {
    return [=](int64_t a, int64_t c, const float* pair) {
      const int64_t g = a % 4, first = a / 4 * kSide;
      write(pair, l.cells - first, width - c * kSide, to + (g * l.cells + first) * width + c * kSide, width);
    };
  };
  const Blocked<N> from_x{in.data, l.depth_in()}, from_r{in.data, l.depth_recs()};
  for (int64_t t = 0; t < l.frames; ++t)
    block<F>(from_x.from(t * rows), 0, x + t * l.streams * l.inputs, l.streams, l.inputs, l.inputs);
  panel_of<F>(from_x, all, 2 * l.depth_in(), right);
  multiply_transposed<F>(d_act, all, 4 * blocks, right, 2 * l.depth_in(), scratch, of_gates(d_w_x, l.inputs));
  for (int64_t t = 0; t < l.frames; ++t)
    block<F>(from_r.from(t * rows), 0, t ? y + (t - 1) * l.streams * l.up() : r_0, l.streams, l.recs, t ? l.up() : l.recs);
  panel_of<F>(from_r, all, 2 * l.depth_recs(), right);
  multiply_transposed<F>(d_act, all, 4 * blocks, right, 2 * l.depth_recs(), scratch, of_gates(d_w_r, l.recs));
  if (!l.projected) return;
  panel_of<F>({m, l.depth_cells()}, all, blocks, right);
  multiply_transposed<F>(d_up, all, 2 * l.depth_up(), right, blocks, scratch, [&](int64_t a, int64_t c, const float* pair) {
    const bool recurs = a < 2 * l.depth_recs();
    const int64_t first = (recurs ? a : a - 2 * l.depth_recs()) * kSide;
    write(pair, (recurs ? l.recs : l.others) - first, l.cells - c * kSide,
          (recurs ? d_w_rm : d_w_pm) + first * l.cells + c * kSide, l.cells);
  });
}

// The output layer: scores y wᵀ + bias of `rows` rows, their softmax and cross entropy, and all gradients of
// scale · Σ −log p(target) over the rows whose target is not −1. `y` [rows, D], `w` [S, D], `bias` [S]. Out: `d_y`, `d_w`,
// `d_bias`, or all three null; `loss`, unscaled; `hits`: rows whose target has the highest score (ties count).
template <class F, typename N = typename F::Number>
void output(int64_t rows, int64_t width, int64_t states, const float* y, const float* w, const float* bias,
            const int64_t* targets, float scale, float* d_y, float* d_w, float* d_bias, double* loss, int64_t* hits) {
  const int64_t all = tiles_of(rows, kSide), depth = tiles_of(width, kDepth), deep = tiles_of(states, kDepth), columns = 2 * deep;
  const Blocked<N> in{memory<N>.input.at_least(all * depth * kTile), depth}, grad{memory<N>.d_gates.at_least(all * deep * kTile), deep};
  const Panel<N> by_w{memory<N>.weights.at_least(columns * depth * kTile), depth};
  block<F>(in, 0, y, rows, width, width);
  for (int64_t c = 0; c < columns; ++c) pack_transposed<F>(by_w, c, row_of(w, c * kSide, width), states - c * kSide, width);
  float* totals = memory<N>.sums.zeros(columns * kSide);
  float* scores = memory<N>.plain.at_least(2 * kSide * columns * kSide);
  const __m512 lowest = _mm512_set1_ps(-INFINITY);
  [[maybe_unused]] const typename F::Session session{};
  *loss = 0, *hits = 0;
  for (int64_t r = 0; r < all; r += 2) {
    multiply<F>(in, r, r + 2 < all ? r + 2 : all, by_w, columns, [&](int64_t tile, int64_t c, const float* pair) {
      float* to = scores + (tile - r) * kSide * columns * kSide + c * kSide;
      for (int64_t n = 0; n < kSide; ++n, to += columns * kSide)
        _mm512_store_ps(to, _mm512_load_ps(pair + n * kSide)), _mm512_store_ps(to + kSide, _mm512_load_ps(pair + 256 + n * kSide));
    });
    for (int64_t n = 0; n < 2 * kSide && r * kSide + n < all * kSide; ++n) {
      float* s = scores + n * columns * kSide;
      const int64_t row = r * kSide + n, target = row < rows ? targets[row] : -1;
      N* out = grad.tile(row / kSide, 0) + row % kSide * kDepth;
      if (target < 0) {
        for (int64_t d = 0; d < deep; ++d) F::put(out + d * kTile, _mm512_setzero_ps(), _mm512_setzero_ps());
        continue;
      }
      __m512 top = lowest, sum = _mm512_setzero_ps();
      for (int64_t c = 0; c < states; c += kSide) {  // what is beyond the states scores −∞
        const __mmask16 mask = mask_of(states - c);
        const __m512 score = _mm512_mask_add_ps(lowest, mask, _mm512_load_ps(s + c), part(bias + c, mask));
        _mm512_store_ps(s + c, score);
        top = _mm512_max_ps(top, score);
      }
      const float best = _mm512_reduce_max_ps(top), hit = s[target];
      *hits += hit >= best;
      for (int64_t c = 0; c < states; c += kSide) {
        const __m512 e = _mm512_maskz_mov_ps(mask_of(states - c), exp_(_mm512_sub_ps(_mm512_load_ps(s + c), _mm512_set1_ps(best))));
        _mm512_store_ps(s + c, e);
        sum = _mm512_add_ps(sum, e);
      }
      const float total = _mm512_reduce_add_ps(sum);
      *loss -= static_cast<double>(hit - best) - std::log(static_cast<double>(total));
      const __m512 norm = _mm512_set1_ps(scale / total);
      s[target] -= total;
      for (int64_t c = tiles_of(states, kSide) * kSide; c < columns * kSide; ++c) s[c] = 0;
      for (int64_t c = 0; c < columns * kSide; c += kDepth) {
        const __m512 low = _mm512_mul_ps(_mm512_load_ps(s + c), norm), high = _mm512_mul_ps(_mm512_load_ps(s + c + kSide), norm);
        _mm512_store_ps(totals + c, _mm512_add_ps(_mm512_load_ps(totals + c), low));
        _mm512_store_ps(totals + c + kSide, _mm512_add_ps(_mm512_load_ps(totals + c + kSide), high));
        F::put(out + c / kDepth * kTile, low, high);
      }
    }
  }
  if (!d_y) return;
  std::memcpy(d_bias, totals, states * sizeof(float));
  const Panel<N> back{memory<N>.weights.at_least(2 * depth * deep * kTile), deep};
  pack<F>(back, 0, w, states, width, 2 * depth);
  multiply<F>(grad, 0, all, back, 2 * depth, [&](int64_t r, int64_t c, const float* pair) {
    write(pair, rows - r * kSide, width - c * kSide, d_y + r * kSide * width + c * kSide, width);
  });
  const int64_t depths = tiles_of(all, 2);
  const Panel<N> right{memory<N>.scratch.at_least(2 * depth * depths * kTile), depths};
  panel_of<F>(in, all, 2 * depth, right);
  multiply_transposed<F>(grad, all, columns, right, 2 * depth, memory<N>.turned.at_least(2 * depths * kTile),
                      [&](int64_t a, int64_t c, const float* pair) {
    write(pair, states - a * kSide, width - c * kSide, d_w + a * kSide * width + c * kSide, width);
  });
}

}  // namespace

// Bit 0: float32 on AVX-512; bit 1: bfloat16 on AMX, if the processor has it and the system lets the process use it.
extern "C" int lstmp_fused_ready() {
  static const int ready = [] {
#if defined(LSTMP_AMX)
    constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    if (syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0) return 3;
#endif
    return 1;
  }();
  return ready;
}

#define LSTMP_FUSED(kind, F)                                                                                              \
  extern "C" void lstmp_forward_##kind(                                                                                   \
      const int64_t* sizes, const float* x, const float* r_0, float* c_0, const float* w_x, const float* w_r,             \
      const float* bias, const float* peep, const float* w_rm, const float* w_pm, float clip, float* y, float* c_last,    \
      F::Number* gates, float* cell, F::Number* m) {                                                                      \
    forward<F>(sizes, x, r_0, c_0, w_x, w_r, bias, peep, w_rm, w_pm, clip, y, c_last, gates, cell, m);                    \
  }                                                                                                                       \
  extern "C" void lstmp_backward_##kind(                                                                                  \
      const int64_t* sizes, const float* x, const float* r_0, const float* w_x, const float* w_r, const float* peep,      \
      const float* w_rm, const float* w_pm, float clip, const float* y, F::Number* gates, const float* cell,              \
      F::Number* m, const float* d_y, float* d_c, float* d_x, float* d_r0, float* d_w_x, float* d_w_r, float* d_bias,     \
      float* d_peep, float* d_w_rm, float* d_w_pm) {                                                                      \
    backward<F>(sizes, x, r_0, w_x, w_r, peep, w_rm, w_pm, clip, y, gates, cell, m, d_y, d_c, d_x, d_r0, d_w_x, d_w_r,    \
                d_bias, d_peep, d_w_rm, d_w_pm);                                                                          \
  }                                                                                                                       \
  extern "C" void lstmp_output_##kind(                                                                                    \
      int64_t rows, int64_t width, int64_t states, const float* y, const float* w, const float* bias,                     \
      const int64_t* targets, float scale, float* d_y, float* d_w, float* d_bias, double* loss, int64_t* hits) {          \
    output<F>(rows, width, states, y, w, bias, targets, scale, d_y, d_w, d_bias, loss, hits);                             \
  }

LSTMP_FUSED(fp32, Single)
#if defined(LSTMP_AMX)
LSTMP_FUSED(bf16, Rounded)
#endif

#else  // neither here, or a compiler that does not know them

extern "C" int lstmp_fused_ready() { return 0; }

#endif
