// Tiles of float32 factors on AVX-512.
#pragma once
#include "matrices.h"

namespace {

struct Single {
  using Number = float;
  using Kept = Single;  // the kind that gates are kept as on the way forward
  using Row = __m512;   // 16 numbers
  // Are multiplied at a time: columns, and tiles of the left factor, which stay in the second cache.
  static constexpr int64_t kColumns = 2, kLeft = 384;
  // What is kept of a gate's opening s, between 0 and 1, and what is got back of it: s, and 1 − s.
  static __m512 kept(__m512 s) { return s; }
  static __m512 opening(__m512 x) { return x; }
  static __m512 closing(__m512 x) { return _mm512_sub_ps(_mm512_set1_ps(1.0f), x); }
  struct Session {};  // for as long as products are made

  // Of a row of a left factor's tile one half, or both.
  static Row row(const float* from, int64_t half) { return _mm512_load_ps(from + half * kSide); }
  static __m512 get(const float* from, int64_t half) { return row(from, half); }
  static void put(float* row, int64_t half, __m512 x) { _mm512_store_ps(row + half * kSide, x); }
  static void put(float* row, __m512 low, __m512 high) { put(row, 0, low), put(row, 1, high); }

  // A right factor's tile out of 32 rows of 16, or, turned, a left one's out of 32 rows of 16: `row(k)` gives one.
  template <typename Get>
  static void put_right(float* to, const Get& row) {
    for (int64_t k = 0; k < kDepth; ++k) _mm512_store_ps(to + k * kSide, row(k));
  }
  template <typename Get>
  static void put_turned(float* to, const Get& row) {
    for (int64_t i = 0; i < 2; ++i) {
      __m512i words[16];
      for (int64_t k = 0; k < kSide; ++k) words[k] = _mm512_castps_si512(row(i * kSide + k));
      transpose(words);
      for (int64_t r = 0; r < kSide; ++r) _mm512_store_si512(to + r * kDepth + i * kSide, words[r]);
    }
  }
  // A right factor's tile out of 16 columns of 32: `column(n, i)` gives half i of one.
  template <typename Get>
  static void put_columns(float* to, const Get& column) {
    for (int64_t i = 0; i < 2; ++i) {
      __m512i words[16];
      for (int64_t n = 0; n < kSide; ++n) words[n] = _mm512_castps_si512(column(n, i));
      transpose(words);
      for (int64_t k = 0; k < kSide; ++k) _mm512_store_si512(to + (i * kSide + k) * kSide, words[k]);
    }
  }

  // Half a row of tiles times two columns, `depths` deep, from sums [16][16] of each column or, to begin with, from zeros.
  // Of each tile's depth `lines` of memory from `soon` on are asked for. A function of its own: where GCC
  // makes it a part of its caller it is 7 % slower.
  [[gnu::noinline]] static void half_row(const float* a, const float* const* b, int64_t depths, float* const* sums, bool add,
                                         const float* soon, int64_t lines) {
    constexpr int kRows = kSide / 2;
    __m512 s[kRows][2];
    for (int r = 0; r < kRows; ++r)
      for (int c = 0; c < 2; ++c) s[r][c] = add ? _mm512_load_ps(sums[c] + r * kSide) : _mm512_setzero_ps();
    for (int64_t tile = 0; tile < depths * kTile; tile += kTile, a += kTile) {
      for (int r = 0; r < kRows; ++r)
        for (int half = 0; half < 2; ++half) ask<_MM_HINT_T0>(a + kTile + r * kDepth + half * kSide);
      for (int64_t i = 0; i < lines; ++i, soon += kSide) ask<_MM_HINT_T1>(soon);
      for (int64_t k = 0; k < kDepth; ++k) {
        const __m512 low = _mm512_load_ps(b[0] + tile + k * kSide), high = _mm512_load_ps(b[1] + tile + k * kSide);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          const __m512 left = _mm512_set1_ps(a[r * kDepth + k]);
          s[r][0] = _mm512_fmadd_ps(left, low, s[r][0]), s[r][1] = _mm512_fmadd_ps(left, high, s[r][1]);
        }
      }
    }
    for (int r = 0; r < kRows; ++r)
      for (int c = 0; c < 2; ++c) _mm512_store_ps(sums[c] + r * kSide, s[r][c]);
  }

  // sums [rows][columns][16][16] = or += `rows` rows of tiles times `columns` (even) columns from `column` on. All rows
  // are multiplied by as much of two columns as the first cache holds, while the next comes to the second.
  static void times(const Blocked<float>& a, int64_t rows, const Panel<float>& b, int64_t column, int64_t columns,
                    int64_t depths, float* sums, bool add) {
    constexpr int64_t kNear = 8;  // tiles of a column: two columns take 32 KB
    for (int64_t c = 0; c < columns; c += 2)
      for (int64_t d = 0; d < depths; d += kNear) {
        const int64_t near = depths - d < kNear ? depths - d : kNear;
        const float* right[2] = {b.tile(column + c, d), b.tile(column + c + 1, d)};
        const bool last = d + near == depths;
        const int64_t lines = tiles_of(kTile / kSide, rows);  // each half asks for its share of one column
        for (int64_t half = 0; half < 2 * rows; ++half) {
          float* to = sums + (half / 2 * columns + c) * kSums + half % 2 * (kSums / 2);
          float* const places[2] = {to, to + kSums};
          const float* next = last ? b.tile(column + c + 2 + half % 2, 0) : b.tile(column + c + half % 2, d + kNear);
          half_row(a.tile(half / 2, d) + half % 2 * (kTile / 2), right, near, places, add || d,
                   next + half / 2 * lines * near * kSide, lines);
        }
      }
  }
};

}  // namespace
