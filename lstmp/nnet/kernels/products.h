// Matrix products, and how matrices of float32 become their factors: a row of a matrix is a frame of a stream.
#pragma once
#include "amx.h"

#include <algorithm>

namespace {

constexpr int64_t kBand = 8;    // row tiles of a left factor that are multiplied at a time: they stay in the second cache
constexpr int64_t kWide = 16;   // columns that are multiplied at a time where a band has more tiles than kLeft
constexpr int64_t kChunk = 32;  // row tiles over which a product of turned factors is summed at a time, for the same reason

// Fills row tiles from 0 on with `rows` rows of float32, `ld` apart; the tiles from column tile `depth` on.
template <class F>
void block(const Blocked<typename F::Number>& to, int64_t depth, const float* from, int64_t rows, int64_t columns, int64_t ld) {
  for (int64_t r = 0; r < tiles_of(rows, kSide); ++r)
    for (int64_t d = 0; d * kDepth < columns; ++d)
      for (int64_t n = 0; n < kSide; ++n) {
        const float* in = from + (r * kSide + n) * ld + d * kDepth;
        const int64_t left = r * kSide + n < rows ? columns - d * kDepth : 0;
        F::put(to.tile(r, depth + d) + n * kDepth, part(in, mask_of(left)), part(in + kSide, mask_of(left - kSide)));
      }
}

// Fills the tiles of one column with wᵀ, w being [n ≤ 16, k]: part of the factor of x wᵀ.
template <class F>
void pack_transposed(const Panel<typename F::Number>& p, int64_t column, const float* w, int64_t n, int64_t k) {
  for (int64_t d = 0; d < p.depths; ++d)
    F::put_columns(p.tile(column, d), [&](int64_t j, int64_t i) {
      const int64_t at = d * kDepth + i * kSide;
      return part(w + j * k + at, j < n ? mask_of(k - at) : 0);
    });
}

// Fills the tiles from row tile `depth` on with w, [k, n]: the factor of y w.
template <class F>
void pack(const Panel<typename F::Number>& p, int64_t depth, const float* w, int64_t k, int64_t n, int64_t columns) {
  for (int64_t c = 0; c < columns; ++c)
    for (int64_t d = 0; d * kDepth < k; ++d)
      F::put_right(p.tile(c, depth + d), [&](int64_t r) {
        const int64_t row = d * kDepth + r;
        return part(w + row * n + c * kSide, row < k ? mask_of(n - c * kSide) : 0);
      });
}

struct Nothing {
  void operator()(int64_t, int64_t) const {}
};

// a b for row tiles `from` … `to` − 1 and `columns` (even) column tiles: calls store(row tile, column tile, sums [2][16][16])
// with two neighbouring column tiles at a time, and soon(row tile, column tile) before they are computed.
template <class F, typename Store, typename Soon = Nothing>
void multiply(const Blocked<typename F::Number>& a, int64_t from, int64_t to, const Panel<typename F::Number>& b,
              int64_t columns, const Store& store, const Soon& soon = {}) {
  alignas(64) float sums[kBand * kWide * kSums];
  for (int64_t first = from; first < to; first += kBand) {
    const int64_t rows = std::min(kBand, to - first), deep = F::kLeft / rows, width = b.depths > deep ? kWide : F::kColumns;
    for (int64_t c = 0; c < columns; c += width) {
      const int64_t n = std::min(width, columns - c);
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t i = 0; i < n; i += 2) soon(first + r, c + i);
      for (int64_t d = 0; d < b.depths; d += deep)
        F::times(a.from(first, d), rows, b.from(d), c, n, std::min(deep, b.depths - d), sums, d > 0);
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t i = 0; i < n; i += 2) store(first + r, c + i, sums + (r * n + i) * kSums);
    }
  }
}

// Two neighbouring tiles of sums as one of a left factor.
template <class F>
void put_sums(typename F::Number* tile, const float* pair) {
  for (int64_t n = 0; n < kSide; ++n)
    F::put(tile + n * kDepth, _mm512_load_ps(pair + n * kSide), _mm512_load_ps(pair + kSums + n * kSide));
}

// 16 columns (a `column` is half a tile) of a row of x; zeros beyond `rows` row tiles.
template <class F>
typename F::Row in_row(const Blocked<typename F::Number>& x, int64_t row, int64_t rows, int64_t column) {
  if (row / kSide >= rows) return typename F::Row{};
  return F::row(x.tile(row / kSide, column / 2) + row % kSide * kDepth, column % 2);
}

// What multiply_transposed works with.
template <typename N>
struct Turning {
  Buffer<N> left, right;
};

// Where two neighbouring tiles of sums go: `rows` rows of float32, `ld` apart, of which `columns` are there.
struct Place {
  float* to;
  int64_t rows, columns, ld;

  template <typename Row>
  void each(const Row& row) const {
    for (int64_t n = 0; n < std::min(kSide, rows); ++n) row(to + n * ld, n);
  }
  // Write them, or add them to what is there.
  void take(const float* sums, bool add = false) const {
    const __mmask16 low = mask_of(columns), high = mask_of(columns - kSide);
    each([&](float* row, int64_t n) {
      __m512 a = _mm512_load_ps(sums + n * kSide), b = _mm512_load_ps(sums + kSums + n * kSide);
      if (add) a = _mm512_add_ps(a, part(row, low)), b = _mm512_add_ps(b, part(row + kSide, high));
      _mm512_mask_storeu_ps(row, low, a);
      _mm512_mask_storeu_ps(row + kSide, high, b);
    });
  }
  void prefetch() const {
    each([](float* row, int64_t) { ask_for(row, kDepth); });
  }
};

// aᵀ b, summed over `rows` row tiles, for `a_columns` and `b_columns` (even) columns of 16; place(column of a, of b) is the
// Place of the latter and its neighbour.
template <class F, typename N, typename Where>
void multiply_transposed(const Blocked<N>& a, int64_t a_columns, const Blocked<N>& b, int64_t b_columns, int64_t rows,
                         Turning<N>& memory, const Where& place) {
  for (int64_t first = 0; first < rows; first += kChunk) {
    const int64_t count = std::min(kChunk, rows - first), depths = tiles_of(count, 2);
    const Panel<N> right{memory.right.at_least(b_columns * depths * kTile), depths};
    const Blocked<N> turned{memory.left.at_least(kBand * depths * kTile), depths};
    for (int64_t d = 0; d < depths; ++d)
      for (int64_t c = 0; c < b_columns; ++c)
        F::put_right(right.tile(c, d), [&](int64_t k) { return in_row<F>(b.from(first), d * kDepth + k, count, c); });
    for (int64_t c = 0; c < a_columns; c += kBand) {
      const int64_t band = std::min(kBand, a_columns - c);
      for (int64_t d = 0; d < depths; ++d) {
        for (int64_t r = 2 * (d + 1); r < std::min(2 * (d + 2), count); ++r)
          ask_for(a.tile(first + r, c / 2), tiles_of(band, 2) * kTile);
        for (int64_t i = 0; i < band; ++i)
          F::put_turned(turned.tile(i, d), [&](int64_t k) { return in_row<F>(a.from(first), d * kDepth + k, count, c + i); });
      }
      multiply<F>(
          turned, 0, band, right, b_columns,
          [&](int64_t r, int64_t column, const float* pair) { place(c + r, column).take(pair, first > 0); },
          [&](int64_t r, int64_t column) { place(c + r, column).prefetch(); });
    }
  }
}

}  // namespace
