// What the chunk of an LSTMP layer is forward and backward: sizes, memory, weights as factors.
#pragma once
#include "products.h"

namespace {

// A thread's, kept from call to call.
template <typename N>
struct Memory {
  Buffer<N> weights, weights_rec, weights_up, input, step, d_gates, d_up;
  Buffer<float> plain, sums, cell;
  Turning<N> turning;
};
template <typename N>
thread_local Memory<N> memory;

const float* row_of(const float* w, int64_t row, int64_t ld) { return w + row * ld; }

// From so many row tiles of a frame on, a frame's products with the weights of x and of r are made one after the other: what
// the gates get from x stays in cache, and so do the gates' gradients for both. With fewer it would cost more to fetch all
// these weights for every frame: x's products are made for all frames at once, and kept where activations will be.
constexpr int64_t kTogether = 4;

// A layer's sizes. Streams are padded to 16, cells and projections to 32. Cells go in blocks of 16, and what belongs to a
// block's gates lies side by side: column 4 b + g of 16 are gate g (i, f, c, o) of block b.
struct Layer {
  int64_t frames, streams, inputs, cells, recs, others;  // others: non-recurrent projections
  bool projected;
  bool together;  // see kTogether
  int64_t rows() const { return tiles_of(streams, kSide); }  // row tiles of a frame
  int64_t all_rows() const { return frames * rows(); }
  int64_t depth_in() const { return tiles_of(inputs, kDepth); }
  int64_t depth_cells() const { return tiles_of(cells, kDepth); }
  int64_t depth_recs() const { return tiles_of(recs, kDepth); }
  int64_t depth_up() const { return depth_recs() + tiles_of(others, kDepth); }
  int64_t blocks() const { return 2 * depth_cells(); }
  int64_t wide() const { return kDepth * depth_cells(); }
  int64_t up() const { return recs + others; }  // what goes up: r and p

  Layer(const int64_t* sizes, bool projected)
      : frames(sizes[0]), streams(sizes[1]), inputs(sizes[2]), cells(sizes[3]), recs(sizes[4]), others(sizes[5]),
        projected(projected), together(rows() >= kTogether) {}
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
    for (int64_t b = 0; b < l.blocks(); ++b, blocks += kSums)
      for (int64_t n = 0; n < kSide; ++n) {
        const bool there = r * kSide + n < l.streams;
        const __mmask16 mask = there ? mask_of(l.cells - b * kSide) : 0;
        float* place = rows + (r * kSide + n) * l.cells + b * kSide;
        if (kIn) _mm512_store_ps(blocks + n * kSide, part(place, mask));
        else _mm512_mask_storeu_ps(place, mask, _mm512_load_ps(blocks + n * kSide));
      }
}

}  // namespace
