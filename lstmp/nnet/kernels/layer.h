// What forward.h and backward.h share: a layer's sizes, the threads' working memory, and weights packed as factors.
#pragma once
#include "products.h"

namespace {

// A thread's working memory, reused from call to call.
template <typename N>
struct Memory {
  Buffer<N> weights, weights_rec, weights_rp, input, step, d_gates, d_rp;
  Buffer<float> plain, sums, cell;
  TransposeBuffers<N> transpose_buffers;
};
template <typename N>
thread_local Memory<N> memory;

const float* row_of(const float* w, int64_t row, int64_t ld) { return w + row * ld; }

// If a frame has at least this many row tiles, its products with W_x and W_r are computed one after the other: W_x x_t stays
// in cache, and so do the gradients of the gates, which both products need. With fewer row tiles, fetching both matrices for
// every frame would cost more: then W_x x of all frames is computed at once and stored where the activations will be.
constexpr int64_t kInputPerFrame = 4;

// The sizes of a layer. Streams are padded to 16, cells and projections to 32. Cells are divided into blocks of 16, and the
// four gates of a block are adjacent: column 4 b + g of 16 numbers is gate g (i, f, c, o) of block b.
struct Layer {
  int64_t frames, streams, inputs, cells, recs, others;  // recs, others: recurrent and non-recurrent projections
  bool projected;
  bool input_per_frame;  // see kInputPerFrame
  int64_t rows() const { return tiles_of(streams, kSide); }  // row tiles of a frame
  int64_t all_rows() const { return frames * rows(); }
  int64_t depth_in() const { return tiles_of(inputs, kDepth); }
  int64_t depth_cells() const { return tiles_of(cells, kDepth); }
  int64_t depth_recs() const { return tiles_of(recs, kDepth); }
  int64_t depth_rp() const { return depth_recs() + tiles_of(others, kDepth); }
  int64_t blocks() const { return 2 * depth_cells(); }
  int64_t wide() const { return kDepth * depth_cells(); }
  int64_t width_rp() const { return recs + others; }  // of y = (r, p), the layer's output

  Layer(const int64_t* sizes, bool projected)
      : frames(sizes[0]), streams(sizes[1]), inputs(sizes[2]), cells(sizes[3]), recs(sizes[4]), others(sizes[5]),
        projected(projected), input_per_frame(rows() >= kInputPerFrame) {}
};

// Packs the weights of the gates, [4C, k], as the right factor of x wᵀ.
template <class F, typename N = typename F::Number>
Panel<N> pack_gate_weights(const Layer& l, const float* w, int64_t k, Buffer<N>& buffer) {
  const int64_t depths = tiles_of(k, kDepth);
  const Panel<N> p{buffer.reserve(4 * l.blocks() * depths * kTile), depths};
  for (int64_t b = 0; b < l.blocks(); ++b)
    for (int64_t g = 0; g < 4; ++g)
      pack_right_transposed<F>(p, 4 * b + g, row_of(w, g * l.cells + b * kSide, k), l.cells - b * kSide, k);
  return p;
}

// Packs the same weights, [4C, n], as the right factor of d_gates w.
template <class F, typename N = typename F::Number>
Panel<N> pack_gate_weights_backward(const Layer& l, const float* w, int64_t n, Buffer<N>& buffer) {
  const int64_t columns = 2 * tiles_of(n, kDepth);
  const Panel<N> p{buffer.reserve(2 * l.blocks() * columns * kTile), 2 * l.blocks()};
  for (int64_t c = 0; c < columns; ++c)
    for (int64_t d = 0; d < p.depths; ++d)
      F::put_right(p.tile(c, d), [&](int64_t r) {
        const int64_t gate = d % 2 * 2 + r / kSide, cell = d / 2 * kSide + r % kSide;
        return load(row_of(w, gate * l.cells + cell, n) + c * kSide, cell < l.cells ? lanes(n - c * kSide) : 0);
      });
  return p;
}

// Packs the weights of the projections, r's [R, C] above p's [P, C], as the right factor of m wᵀ.
template <class F, typename N = typename F::Number>
Panel<N> pack_projection_weights(const Layer& l, const float* w_rm, const float* w_pm) {
  const Panel<N> p{memory<N>.weights_rp.reserve(2 * l.depth_rp() * l.depth_cells() * kTile), l.depth_cells()};
  for (int64_t c = 0; c < 2 * l.depth_recs(); ++c)
    pack_right_transposed<F>(p, c, row_of(w_rm, c * kSide, l.cells), l.recs - c * kSide, l.cells);
  for (int64_t c = 0; c < 2 * (l.depth_rp() - l.depth_recs()); ++c)
    pack_right_transposed<F>(p, 2 * l.depth_recs() + c, row_of(w_pm, c * kSide, l.cells), l.others - c * kSide, l.cells);
  return p;
}

// Pads vectors [vectors][C] with zeros to [vectors][wide]; null: all zeros.
const float* padded(const Layer& l, const float* from, int64_t vectors, float* to) {
  std::memset(to, 0, vectors * l.wide() * sizeof(float));
  for (int64_t v = 0; from && v < vectors; ++v) std::memcpy(to + v * l.wide(), from + v * l.cells, l.cells * sizeof(float));
  return to;
}

// Copies the cells of one frame between [streams, C] and blocks [row tile][block][16][16]; kIn: into the blocks.
template <bool kIn>
void cells_in_blocks(const Layer& l, float* rows, float* blocks) {
  for (int64_t r = 0; r < l.rows(); ++r)
    for (int64_t b = 0; b < l.blocks(); ++b, blocks += kSums)
      for (int64_t n = 0; n < kSide; ++n) {
        const bool exists = r * kSide + n < l.streams;
        const Lanes mask = exists ? lanes(l.cells - b * kSide) : 0;
        float* place = rows + (r * kSide + n) * l.cells + b * kSide;
        if (kIn) store(blocks + n * kSide, load(place, mask));
        else store(place, mask, load(blocks + n * kSide));
      }
}

}  // namespace
