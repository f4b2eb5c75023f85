// Packs float32 matrices as the factors of products, and multiplies them. A row of a matrix is a frame of a stream.
#pragma once
#include "amx.h"
#include "bf16_dot.h"

#include <algorithm>

namespace {

constexpr int64_t kBand = 8;    // row tiles of a left factor that are multiplied at a time: they stay in the L2 cache
constexpr int64_t kWide = 16;   // columns that are multiplied at a time if a band has more tiles than kLeftTiles
constexpr int64_t kChunk = 32;  // row tiles that multiply_transposed sums over at a time, also to stay in the L2 cache

// Packs `rows` rows of float32, `ld` apart, as a left factor, beginning at row tile 0 and column tile `depth`.
template <class F>
void pack_left(const Blocked<typename F::Number>& to, int64_t depth, const float* from, int64_t rows, int64_t columns,
               int64_t ld) {
  for (int64_t r = 0; r < tiles_of(rows, kSide); ++r)
    for (int64_t d = 0; d * kDepth < columns; ++d)
      for (int64_t n = 0; n < kSide; ++n) {
        const float* in = from + (r * kSide + n) * ld + d * kDepth;
        const int64_t left = r * kSide + n < rows ? columns - d * kDepth : 0;
        F::put(to.tile(r, depth + d) + n * kDepth, load(in, lanes(left)), load(in + kSide, lanes(left - kSide)));
      }
}

// Packs w [n ≤ 16, k] as one column of tiles of wᵀ, a right factor: for the product x wᵀ.
template <class F>
void pack_right_transposed(const Panel<typename F::Number>& p, int64_t column, const float* w, int64_t n, int64_t k) {
  for (int64_t d = 0; d < p.depths; ++d)
    F::put_columns(p.tile(column, d), [&](int64_t j, int64_t i) {
      const int64_t at = d * kDepth + i * kSide;
      return load(w + j * k + at, j < n ? lanes(k - at) : 0);
    });
}

// Packs w [k, n] as a right factor, beginning at row tile `depth`: for the product y w.
template <class F>
void pack_right(const Panel<typename F::Number>& p, int64_t depth, const float* w, int64_t k, int64_t n, int64_t columns) {
  for (int64_t c = 0; c < columns; ++c)
    for (int64_t d = 0; d * kDepth < k; ++d)
      F::put_right(p.tile(c, depth + d), [&](int64_t r) {
        const int64_t row = d * kDepth + r;
        return load(w + row * n + c * kSide, row < k ? lanes(n - c * kSide) : 0);
      });
}

struct NoPrefetch {
  void operator()(int64_t, int64_t) const {}
};

// Computes a b for row tiles `from` … `to` − 1 and `columns` (an even number) column tiles. Calls store(row tile, column tile,
// sums [2][16][16]) for two adjacent column tiles at a time, and prefetch_output(row tile, column tile) before computing them.
template <class F, typename Store, typename Prefetch = NoPrefetch>
void multiply(const Blocked<typename F::Number>& a, int64_t from, int64_t to, const Panel<typename F::Number>& b,
              int64_t columns, const Store& store, const Prefetch& prefetch_output = {}) {
  alignas(64) float sums[kBand * kWide * kSums];
  for (int64_t first = from; first < to; first += kBand) {
    const int64_t rows = std::min(kBand, to - first), depth_step = F::kLeftTiles / rows;
    const int64_t width = b.depths > depth_step ? kWide : F::kColumns;
    for (int64_t c = 0; c < columns; c += width) {
      const int64_t n = std::min(width, columns - c);
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t i = 0; i < n; i += 2) prefetch_output(first + r, c + i);
      for (int64_t d = 0; d < b.depths; d += depth_step)
        F::times(a.from(first, d), rows, b.from(d), c, n, std::min(depth_step, b.depths - d), sums, d > 0);
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t i = 0; i < n; i += 2) store(first + r, c + i, sums + (r * n + i) * kSums);
    }
  }
}

// Packs two adjacent tiles of sums as one tile of a left factor.
template <class F>
void put_sums(typename F::Number* tile, const float* pair) {
  for (int64_t n = 0; n < kSide; ++n)
    F::put(tile + n * kDepth, load(pair + n * kSide), load(pair + kSums + n * kSide));
}

// 16 columns (`column` counts half tiles) of a row of x; zeros beyond `rows` row tiles.
template <class F>
typename F::Row row_from_tiles(const Blocked<typename F::Number>& x, int64_t row, int64_t rows, int64_t column) {
  if (row / kSide >= rows) return typename F::Row{};
  return F::row(x.tile(row / kSide, column / 2) + row % kSide * kDepth, column % 2);
}

// The working memory of multiply_transposed.
template <typename N>
struct TransposeBuffers {
  Buffer<N> left, right;
};

// Where two adjacent tiles of sums are written: the remaining `rows` rows of float32, `ld` apart, and `columns` columns.
struct OutputTile {
  float* to;
  int64_t rows, columns, ld;

  template <typename Row>
  void each(const Row& row) const {
    for (int64_t n = 0; n < std::min(kSide, rows); ++n) row(to + n * ld, n);
  }
  // Writes the sums, or adds them to the numbers already there.
  void write(const float* sums, bool accumulate = false) const {
    const Lanes low = lanes(columns), high = lanes(columns - kSide);
    each([&](float* row, int64_t n) {
      Floats a = load(sums + n * kSide), b = load(sums + kSums + n * kSide);
      if (accumulate) a = add(a, load(row, low)), b = add(b, load(row + kSide, high));
      store(row, low, a);
      store(row + kSide, high, b);
    });
  }
  void prefetch_rows() const {
    each([](float* row, int64_t) { prefetch(row, kDepth); });
  }
};

// Computes aᵀ b, summed over `rows` row tiles, for `a_columns` and `b_columns` (an even number) columns of 16 numbers.
// output(column of a, column of b) is the OutputTile for that column of b and the next one.
template <class F, typename N, typename Output>
void multiply_transposed(const Blocked<N>& a, int64_t a_columns, const Blocked<N>& b, int64_t b_columns, int64_t rows,
                         TransposeBuffers<N>& buffers, const Output& output) {
  for (int64_t first = 0; first < rows; first += kChunk) {
    const int64_t count = std::min(kChunk, rows - first), depths = tiles_of(count, 2);
    const Panel<N> right{buffers.right.reserve(b_columns * depths * kTile), depths};
    const Blocked<N> left{buffers.left.reserve(kBand * depths * kTile), depths};
    for (int64_t d = 0; d < depths; ++d)
      for (int64_t c = 0; c < b_columns; ++c)
        F::put_right(right.tile(c, d), [&](int64_t k) { return row_from_tiles<F>(b.from(first), d * kDepth + k, count, c); });
    for (int64_t c = 0; c < a_columns; c += kBand) {
      const int64_t band = std::min(kBand, a_columns - c);
      for (int64_t d = 0; d < depths; ++d) {
        for (int64_t r = 2 * (d + 1); r < std::min(2 * (d + 2), count); ++r)
          prefetch(a.tile(first + r, c / 2), tiles_of(band, 2) * kTile);
        for (int64_t i = 0; i < band; ++i)
          F::put_left_transposed(left.tile(i, d), [&](int64_t k) {
            return row_from_tiles<F>(a.from(first), d * kDepth + k, count, c + i);
          });
      }
      multiply<F>(
          left, 0, band, right, b_columns,
          [&](int64_t r, int64_t column, const float* pair) { output(c + r, column).write(pair, first > 0); },
          [&](int64_t r, int64_t column) { output(c + r, column).prefetch_rows(); });
    }
  }
}

}  // namespace
