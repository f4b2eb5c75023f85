// LSTMP layers over a whole chunk, and the output layer with its cross entropy, forward and backward, for processors with
// AMX. Matrix products have bfloat16 factors and float32 sums (amx.h); the element-wise part of each frame is applied to a
// product's tiles while they are in the first cache. lstmp/nnet/cell.py has the equations, lstmp/nnet/amx.py calls this.
#if defined(__AMX_BF16__) && defined(__AMX_TILE__) && defined(__AVX512BF16__) && defined(__AVX512BW__) && \
    defined(__AVX512VL__) && defined(__AVX512DQ__) && defined(__linux__)
#include "amx.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cmath>

namespace {

struct Memory {
  Buffer<uint16_t> weights, weights_rec, weights_up, input, turned, step, d_gates, d_up, scratch;
  Buffer<float> plain, sums, cell;
};
thread_local Memory memory;

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
Panel gates_from(const Layer& l, const float* w, int64_t k, Buffer<uint16_t>& buffer) {
  const int64_t depths = tiles_of(k, kDepth);
  const Panel p{buffer.at_least(4 * l.blocks() * depths * kTile), depths};
  for (int64_t b = 0; b < l.blocks(); ++b)
    for (int64_t g = 0; g < 4; ++g)
      pack_transposed(p, 4 * b + g, row_of(w, g * l.cells + b * kSide, k), l.cells - b * kSide, k);
  return p;
}

// The same weights, [4C, n], as the factor of d_gates w.
Panel gates_to(const Layer& l, const float* w, int64_t n, Buffer<uint16_t>& buffer) {
  const int64_t columns = 2 * tiles_of(n, kDepth);
  const Panel p{buffer.at_least(2 * l.blocks() * columns * kTile), 2 * l.blocks()};
  for (int64_t c = 0; c < columns; ++c)
    for (int64_t b = 0; b < l.blocks(); ++b)
      for (int64_t r = 0; r < 2 * kSide; ++r) {
        const int64_t g = r / 8, cell = b * kSide + r % 8 * 2;
        pack_pair(p.tile(c, 2 * b + g / 2) + r % kSide * kDepth, row_of(w, g * l.cells + cell, n) + c * kSide,
                  l.cells - cell, n, mask_of(n - c * kSide));
      }
  return p;
}

// Weights of the projections, r's [R, C] over p's [P, C], as the factor of m wᵀ.
Panel projections_of(const Layer& l, const float* w_rm, const float* w_pm) {
  const Panel p{memory.weights_up.at_least(2 * l.depth_up() * l.depth_cells() * kTile), l.depth_cells()};
  for (int64_t c = 0; c < 2 * l.depth_recs(); ++c) pack_transposed(p, c, row_of(w_rm, c * kSide, l.cells), l.recs - c * kSide, l.cells);
  for (int64_t c = 0; c < 2 * (l.depth_up() - l.depth_recs()); ++c)
    pack_transposed(p, 2 * l.depth_recs() + c, row_of(w_pm, c * kSide, l.cells), l.others - c * kSide, l.cells);
  return p;
}

// As pack(), where `n` of 16 cells are there: vectors of gates padded with zeros, [vectors][wide].
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

}  // namespace

// 1 if this processor has AMX and the system lets the process use it.
extern "C" int lstmp_amx_ready() {
  static const bool ready = [] {
    constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return __builtin_cpu_supports("avx512bf16") && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  }();
  return ready;
}

// `sizes`: frames T, streams N, inputs I, cells C, recurrent projections R (C without any), others P. In: `x` [T, N, I],
// `r_0` [N, R], `c_0` [N, C], weights `w_x` [4C, I], `w_r` [4C, R], `bias` [4C], `peep` [3C] or null, `w_rm` [R, C] or null,
// `w_pm` [P, C] or null. Out: `y` [T, N, R + P] and `c_last` [N, C]; for the way back, in blocks, `gates` (activations,
// bfloat16), `cell` (frames + 1), and, where there is a projection, `m` (o · tanh(cell), bfloat16).
extern "C" void lstmp_amx_forward(const int64_t* sizes, const float* x, const float* r_0, float* c_0, const float* w_x,
                                  const float* w_r, const float* bias, const float* peep, const float* w_rm,
                                  const float* w_pm, float clip, float* y, float* c_last, uint16_t* gates, float* cell,
                                  uint16_t* m) {
  const Layer l{sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], w_rm != nullptr};
  const int64_t rows = l.rows(), blocks = l.blocks(), frame_cells = rows * blocks * 256;
  float* vectors = memory.sums.at_least(7 * l.wide());
  const float *b = padded(l, bias, 4, vectors), *p = padded(l, peep, 3, vectors + 4 * l.wide());
  const Blocked act{gates, 2 * blocks};
  Tiles tiles;

  // what the gates get from x, all frames at once
  const Panel by_x = gates_from(l, w_x, l.inputs, memory.weights);
  const Blocked in{memory.input.at_least(l.all_rows() * l.depth_in() * kTile), l.depth_in()};
  for (int64_t t = 0; t < l.frames; ++t)
    block(in.from(t * rows), 0, x + t * l.streams * l.inputs, l.streams, l.inputs, l.inputs);
  multiply(in, 0, l.all_rows(), by_x, 4 * blocks, [&](int64_t r, int64_t c, const float* sums) {
    uint16_t* out = act.tile(r, c / 2);
    const __m512 low = _mm512_load_ps(b + c % 4 * l.wide() + c / 4 * kSide),
                 high = _mm512_load_ps(b + (c + 1) % 4 * l.wide() + c / 4 * kSide);
    for (int64_t n = 0; n < kSide; ++n)
      _mm512_store_si512(out + n * kDepth, narrow(_mm512_add_ps(_mm512_load_ps(sums + n * kSide), low),
                                                  _mm512_add_ps(_mm512_load_ps(sums + 256 + n * kSide), high)));
  });

  const Panel by_r = gates_from(l, w_r, l.recs, memory.weights);
  const Panel by_m = l.projected ? projections_of(l, w_rm, w_pm) : Panel{};
  // r of the frame before and, without projection, that of this one
  const int64_t r_size = rows * l.depth_recs() * kTile;
  uint16_t* r_memory = memory.step.zeros(2 * r_size);
  Blocked rec{r_memory, l.depth_recs()}, next{r_memory + r_size, l.depth_recs()};
  block(rec, 0, r_0, l.streams, l.recs, l.recs);
  cells_in_blocks<true>(l, c_0, cell);
  const __m512 top = _mm512_set1_ps(clip), bottom = _mm512_set1_ps(-clip);
  alignas(64) float sums[4 * 256];
  for (int64_t t = 0; t < l.frames; ++t) {
    float* y_t = y + t * l.streams * l.up();
    const Blocked out = l.projected ? Blocked{m, l.depth_cells()}.from(t * rows) : next;
    for (int64_t k = 0; k < blocks; ++k) {
      const int64_t w = l.wide(), at = k * kSide;
      const __m512 p_i = _mm512_load_ps(p + at), p_f = _mm512_load_ps(p + w + at), p_o = _mm512_load_ps(p + 2 * w + at);
      for (int64_t r = 0; r < rows; ++r) {
        clear_tiles();
        const uint16_t *a = rec.tile(r, 0), *i_b = by_r.tile(4 * k, 0);
        const int64_t gate = by_r.depths * kTile;
        for (int64_t d = 0; d < gate; d += kTile) {
          _tile_loadd(4, a + d, 64);
          _tile_loadd(5, i_b + d, 64);
          _tile_loadd(6, i_b + gate + d, 64);
          _tile_loadd(7, i_b + 2 * gate + d, 64);
          _tile_dpbf16ps(0, 4, 5);
          _tile_loadd(5, i_b + 3 * gate + d, 64);
          _tile_dpbf16ps(1, 4, 6);
          _tile_dpbf16ps(2, 4, 7);
          _tile_dpbf16ps(3, 4, 5);
        }
        store_tiles(sums, 4);
        const float* old = cell + t * frame_cells + (r * blocks + k) * 256;
        float* now = cell + (t + 1) * frame_cells + (r * blocks + k) * 256;
        uint16_t *i_f = act.tile(t * rows + r, 2 * k), *c_o = i_f + kTile, *to = out.tile(r, k / 2) + k % 2 * kSide;
        for (int64_t n = 0; n < kSide; ++n, i_f += kDepth, c_o += kDepth, to += kDepth) {
          const auto input = [&](int64_t g, const uint16_t* from) {
            return _mm512_add_ps(_mm512_load_ps(sums + 256 * g + n * kSide), wide(half(from)));
          };
          const __m512 before = _mm512_load_ps(old + n * kSide);
          const __m512 i = sigmoid(_mm512_fmadd_ps(p_i, before, input(0, i_f)));
          const __m512 f = sigmoid(_mm512_fmadd_ps(p_f, before, input(1, i_f + kSide)));
          const __m512 g = tanh_(input(2, c_o));
          const __m512 c = _mm512_max_ps(bottom, _mm512_min_ps(top, _mm512_fmadd_ps(f, before, _mm512_mul_ps(i, g))));
          const __m512 o = sigmoid(_mm512_fmadd_ps(p_o, c, input(3, c_o + kSide)));
          const __m512 result = _mm512_mul_ps(o, tanh_(c));
          _mm512_store_ps(now + n * kSide, c);
          _mm512_store_si512(i_f, narrow(i, f));
          _mm512_store_si512(c_o, narrow(g, o));
          put(to, narrow(result));
          if (!l.projected && r * kSide + n < l.streams)
            _mm512_mask_storeu_ps(y_t + (r * kSide + n) * l.up() + at, mask_of(l.cells - at), result);
        }
      }
    }
    if (!l.projected) {
      const Blocked swap = rec;
      rec = next, next = swap;
      continue;
    }
    multiply(out, 0, rows, by_m, 2 * l.depth_up(), [&](int64_t r, int64_t c, const float* pair) {
      const bool recurs = c < 2 * l.depth_recs();
      const int64_t first = recurs ? c * kSide : l.recs + (c - 2 * l.depth_recs()) * kSide;
      write(pair, l.streams - r * kSide, (recurs ? l.recs : l.up()) - first, y_t + r * kSide * l.up() + first, l.up());
      for (int64_t n = 0; recurs && n < kSide; ++n)
        _mm512_store_si512(rec.tile(r, c / 2) + n * kDepth,
                           narrow(_mm512_load_ps(pair + n * kSide), _mm512_load_ps(pair + 256 + n * kSide)));
    });
  }
  cells_in_blocks<false>(l, c_last, cell + l.frames * frame_cells);
}

// The same chunk backward. In: what the forward pass was given and left; `d_y` [T, N, R + P], `d_c` [N, C]. Out: `d_c` of
// c_0, `d_x` [T, N, I] and `d_r0` [N, R] where not null, and the gradients of the weights, those of absent ones null.
extern "C" void lstmp_amx_backward(const int64_t* sizes, const float* x, const float* r_0, const float* w_x,
                                   const float* w_r, const float* peep, const float* w_rm, const float* w_pm, float clip,
                                   const float* y, uint16_t* gates, const float* cell, uint16_t* m, const float* d_y,
                                   float* d_c, float* d_x, float* d_r0, float* d_w_x, float* d_w_r, float* d_bias,
                                   float* d_peep, float* d_w_rm, float* d_w_pm) {
  const Layer l{sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], w_rm != nullptr};
  const int64_t rows = l.rows(), all = l.all_rows(), blocks = l.blocks(), frame_cells = rows * blocks * 256, wide_c = l.wide();
  float* vectors = memory.sums.at_least(10 * wide_c);
  const float* p = padded(l, peep, 3, vectors);
  float* totals = vectors + 3 * wide_c;  // of the bias, then of the peepholes
  padded(l, nullptr, 7, totals);
  const Blocked act{gates, 2 * blocks}, d_act{memory.d_gates.at_least(all * 2 * blocks * kTile), 2 * blocks};
  const Blocked d_up{memory.d_up.at_least(all * l.depth_up() * kTile), l.depth_up()};  // gradient of r and p
  float* dc = memory.cell.at_least(frame_cells);
  cells_in_blocks<true>(l, d_c, dc);
  float* d_m = l.projected ? nullptr : memory.plain.zeros(frame_cells);  // gradient of m = r where nothing projects it
  const Panel by_r = gates_to(l, w_r, l.recs, memory.weights_rec);
  Panel by_up{};
  if (l.projected) {
    by_up = {memory.weights_up.at_least(blocks * l.depth_up() * kTile), l.depth_up()};
    pack(by_up, 0, w_rm, l.recs, l.cells, blocks);
    if (w_pm) pack(by_up, l.depth_recs(), w_pm, l.others, l.cells, blocks);
  }
  Tiles tiles;
  const __m512 top = _mm512_set1_ps(clip), bottom = _mm512_set1_ps(-clip), one = _mm512_set1_ps(1.0f), zero = _mm512_setzero_ps();
  alignas(64) float sums[4 * 256];
  for (int64_t t = l.frames - 1; t >= 0; --t) {
    const float* above = d_y + t * l.streams * l.up();
    const Blocked up = d_up.from(t * rows);
    if (l.others) block(up, l.depth_recs(), above + l.recs, l.streams, l.others, l.up());
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
          _mm512_store_si512(up.tile(r, c / 2) + n * kDepth, narrow(low, high));
        }
      }
    };
    if (t + 1 < l.frames) {
      multiply(d_act.from((t + 1) * rows), 0, rows, by_r, 2 * l.depth_recs(), add_above);
    } else {
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < 2 * l.depth_recs(); c += 2) add_above(r, c, nullptr);
    }
    for (int64_t k = 0; k < blocks; ++k) {
      const int64_t at = k * kSide;
      const __m512 p_i = _mm512_load_ps(p + at), p_f = _mm512_load_ps(p + wide_c + at), p_o = _mm512_load_ps(p + 2 * wide_c + at);
      __m512 s_i = zero, s_f = zero, s_c = zero, s_o = zero, s_pi = zero, s_pf = zero, s_po = zero;
      for (int64_t first = 0; first < rows; first += 4) {
        const int64_t count = rows - first < 4 ? rows - first : 4;
        if (l.projected) {
          clear_tiles();
          const uint16_t* b = by_up.tile(k, 0);
          const uint16_t* a[4];
          for (int64_t r = 0; r < 4; ++r) a[r] = up.tile(first + (r < count ? r : 0), 0);
          for (int64_t d = 0; d < by_up.depths * kTile; d += kTile) {
            _tile_loadd(4, b + d, 64);
            _tile_loadd(5, a[0] + d, 64);
            _tile_dpbf16ps(0, 5, 4);
            if (count < 2) continue;
            _tile_loadd(6, a[1] + d, 64);
            _tile_dpbf16ps(1, 6, 4);
            if (count < 3) continue;
            _tile_loadd(7, a[2] + d, 64);
            _tile_dpbf16ps(2, 7, 4);
            if (count < 4) continue;
            _tile_loadd(5, a[3] + d, 64);
            _tile_dpbf16ps(3, 5, 4);
          }
          store_tiles(sums, count);
        }
        for (int64_t r = first; r < first + count; ++r) {
          const float* d_out = l.projected ? sums + (r - first) * 256 : d_m + (r * blocks + k) * 256;
          const float* old = cell + t * frame_cells + (r * blocks + k) * 256;
          const float* now = old + frame_cells;
          float* later = dc + (r * blocks + k) * 256;
          const uint16_t *i_f = act.tile(t * rows + r, 2 * k), *c_o = i_f + kTile;
          uint16_t *d_i_f = d_act.tile(t * rows + r, 2 * k), *d_c_o = d_i_f + kTile;
          for (int64_t n = 0; n < kSide; ++n, i_f += kDepth, c_o += kDepth, d_i_f += kDepth, d_c_o += kDepth) {
            const __m512 dm = _mm512_load_ps(d_out + n * kSide), before = _mm512_load_ps(old + n * kSide);
            const __m512 c = _mm512_load_ps(now + n * kSide), tc = tanh_(c);
            const __m512 i = wide(half(i_f)), f = wide(half(i_f + kSide)), g = wide(half(c_o)), o = wide(half(c_o + kSide));
            const __m512 d_o = _mm512_mul_ps(_mm512_mul_ps(dm, tc), _mm512_mul_ps(o, _mm512_sub_ps(one, o)));
            __m512 grad = _mm512_fmadd_ps(_mm512_mul_ps(dm, o), _mm512_fnmadd_ps(tc, tc, one), _mm512_load_ps(later + n * kSide));
            grad = _mm512_fmadd_ps(d_o, p_o, grad);
            const __mmask16 clipped = _mm512_cmp_ps_mask(c, top, _CMP_GE_OQ) | _mm512_cmp_ps_mask(c, bottom, _CMP_LE_OQ);
            grad = _mm512_mask_mov_ps(grad, clipped, zero);  // a clipped cell passes no gradient
            const __m512 d_i = _mm512_mul_ps(_mm512_mul_ps(grad, g), _mm512_mul_ps(i, _mm512_sub_ps(one, i)));
            const __m512 d_f = _mm512_mul_ps(_mm512_mul_ps(grad, before), _mm512_mul_ps(f, _mm512_sub_ps(one, f)));
            const __m512 d_g = _mm512_mul_ps(_mm512_mul_ps(grad, i), _mm512_fnmadd_ps(g, g, one));
            _mm512_store_ps(later + n * kSide, _mm512_fmadd_ps(d_i, p_i, _mm512_fmadd_ps(d_f, p_f, _mm512_mul_ps(grad, f))));
            _mm512_store_si512(d_i_f, narrow(d_i, d_f));
            _mm512_store_si512(d_c_o, narrow(d_g, d_o));
            s_i = _mm512_add_ps(s_i, d_i), s_f = _mm512_add_ps(s_f, d_f), s_c = _mm512_add_ps(s_c, d_g);
            s_o = _mm512_add_ps(s_o, d_o);
            s_pi = _mm512_fmadd_ps(d_i, before, s_pi), s_pf = _mm512_fmadd_ps(d_f, before, s_pf);
            s_po = _mm512_fmadd_ps(d_o, c, s_po);
          }
        }
      }
      const __m512 added[7] = {s_i, s_f, s_c, s_o, s_pi, s_pf, s_po};
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
  if (d_r0) multiply(d_act, 0, rows, by_r, 2 * l.depth_recs(), to_rows(d_r0, l.recs));
  if (d_x) multiply(d_act, 0, all, gates_to(l, w_x, l.inputs, memory.weights), 2 * l.depth_in(), to_rows(d_x, l.inputs));

  // gradients of the weights, summed over all frames: of the gates' from x and r of the frame before, of the projections'
  const int64_t depths = tiles_of(all, 2);
  uint16_t* scratch = memory.turned.at_least(2 * depths * kTile);
  const int64_t widest = l.depth_in() > l.depth_recs() ? l.depth_in() : l.depth_recs();
  const Panel right{memory.scratch.at_least(2 * (widest > l.depth_cells() ? widest : l.depth_cells()) * depths * kTile), depths};
  const Blocked in{memory.input.at_least(all * widest * kTile), 0};
  const auto of_gates = [&](float* to, int64_t width) {
    return [=](int64_t a, int64_t c, const float* pair) {
      const int64_t g = a % 4, first = a / 4 * kSide;
      write(pair, l.cells - first, width - c * kSide, to + (g * l.cells + first) * width + c * kSide, width);
    };
  };
  const Blocked from_x{in.data, l.depth_in()}, from_r{in.data, l.depth_recs()};
  for (int64_t t = 0; t < l.frames; ++t)
    block(from_x.from(t * rows), 0, x + t * l.streams * l.inputs, l.streams, l.inputs, l.inputs);
  panel_of(from_x, all, 2 * l.depth_in(), right);
  multiply_transposed(d_act, all, 4 * blocks, right, 2 * l.depth_in(), scratch, of_gates(d_w_x, l.inputs));
  for (int64_t t = 0; t < l.frames; ++t)
    block(from_r.from(t * rows), 0, t ? y + (t - 1) * l.streams * l.up() : r_0, l.streams, l.recs, t ? l.up() : l.recs);
  panel_of(from_r, all, 2 * l.depth_recs(), right);
  multiply_transposed(d_act, all, 4 * blocks, right, 2 * l.depth_recs(), scratch, of_gates(d_w_r, l.recs));
  if (!l.projected) return;
  panel_of({m, l.depth_cells()}, all, blocks, right);
  multiply_transposed(d_up, all, 2 * l.depth_up(), right, blocks, scratch, [&](int64_t a, int64_t c, const float* pair) {
    const bool recurs = a < 2 * l.depth_recs();
    const int64_t first = (recurs ? a : a - 2 * l.depth_recs()) * kSide;
    write(pair, (recurs ? l.recs : l.others) - first, l.cells - c * kSide,
          (recurs ? d_w_rm : d_w_pm) + first * l.cells + c * kSide, l.cells);
  });
}

// The output layer: scores y wᵀ + bias of `rows` rows, their softmax and cross entropy, and all gradients of
// scale · Σ −log p(target) over the rows whose target is not −1. `y` [rows, D], `w` [S, D], `bias` [S]. Out: `d_y`, `d_w`,
// `d_bias`; `loss`, unscaled; `hits`: rows whose target has the highest score (ties count).
extern "C" void lstmp_amx_output(int64_t rows, int64_t width, int64_t states, const float* y, const float* w,
                                 const float* bias, const int64_t* targets, float scale, float* d_y, float* d_w,
                                 float* d_bias, double* loss, int64_t* hits) {
  const int64_t all = tiles_of(rows, kSide), depth = tiles_of(width, kDepth), deep = tiles_of(states, kDepth), columns = 2 * deep;
  const Blocked in{memory.input.at_least(all * depth * kTile), depth}, grad{memory.d_gates.at_least(all * deep * kTile), deep};
  const Panel by_w{memory.weights.at_least(columns * depth * kTile), depth};
  block(in, 0, y, rows, width, width);
  for (int64_t c = 0; c < columns; ++c) pack_transposed(by_w, c, row_of(w, c * kSide, width), states - c * kSide, width);
  float* totals = memory.sums.zeros(columns * kSide);
  float* scores = memory.plain.at_least(2 * kSide * columns * kSide);
  const __m512 lowest = _mm512_set1_ps(-INFINITY);
  Tiles tiles;
  *loss = 0, *hits = 0;
  for (int64_t r = 0; r < all; r += 2) {
    multiply(in, r, r + 2 < all ? r + 2 : all, by_w, columns, [&](int64_t tile, int64_t c, const float* pair) {
      float* to = scores + (tile - r) * kSide * columns * kSide + c * kSide;
      for (int64_t n = 0; n < kSide; ++n, to += columns * kSide)
        _mm512_store_ps(to, _mm512_load_ps(pair + n * kSide)), _mm512_store_ps(to + kSide, _mm512_load_ps(pair + 256 + n * kSide));
    });
    for (int64_t n = 0; n < 2 * kSide && r * kSide + n < all * kSide; ++n) {
      float* s = scores + n * columns * kSide;
      const int64_t row = r * kSide + n, target = row < rows ? targets[row] : -1;
      uint16_t* out = grad.tile(row / kSide, 0) + row % kSide * kDepth;
      if (target < 0) {
        for (int64_t d = 0; d < deep; ++d) _mm512_store_si512(out + d * kTile, _mm512_setzero_si512());
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
        _mm512_store_si512(out + c / kDepth * kTile, narrow(low, high));
      }
    }
  }
  std::memcpy(d_bias, totals, states * sizeof(float));
  const Panel back{memory.weights.at_least(2 * depth * deep * kTile), deep};
  pack(back, 0, w, states, width, 2 * depth);
  multiply(grad, 0, all, back, 2 * depth, [&](int64_t r, int64_t c, const float* pair) {
    write(pair, rows - r * kSide, width - c * kSide, d_y + r * kSide * width + c * kSide, width);
  });
  const int64_t depths = tiles_of(all, 2);
  const Panel right{memory.scratch.at_least(2 * depth * depths * kTile), depths};
  panel_of(in, all, 2 * depth, right);
  multiply_transposed(grad, all, columns, right, 2 * depth, memory.turned.at_least(2 * depths * kTile),
                      [&](int64_t a, int64_t c, const float* pair) {
    write(pair, states - a * kSide, width - c * kSide, d_w + a * kSide * width + c * kSide, width);
  });
}

#else  // no AMX here, or a compiler that does not know it

extern "C" int lstmp_amx_ready() { return 0; }

#endif
