// Tiles of float32 factors.
#pragma once
#include "matrices.h"

namespace {

// What `times` does on processors without tile registers: all rows are multiplied, `kRows` at a time, by as much of two columns
// as the L1 cache holds, while the next piece is fetched into L2.
template <int64_t kRows, typename N, typename SomeRows>
void times_by_rows(const Blocked<N>& a, int64_t rows, const Panel<N>& b, int64_t column, int64_t columns, int64_t depths,
                   float* sums, bool accumulate, const SomeRows& some_rows) {
  constexpr int64_t kParts = kSide / kRows;                         // of a row of tiles
  constexpr int64_t kLine = 64 / sizeof(N);                         // numbers in a cache line
  constexpr int64_t kCached = (1 << 15) / (2 * kTile * sizeof(N));  // tiles of a column: two columns take 32 KB
  for (int64_t c = 0; c < columns; c += 2)
    for (int64_t d = 0; d < depths; d += kCached) {
      const int64_t cached = depths - d < kCached ? depths - d : kCached;
      const N* right[2] = {b.tile(column + c, d), b.tile(column + c + 1, d)};
      const bool last = d + cached == depths;
      const int64_t lines = tiles_of(2 * kTile / kLine, kParts * rows);  // each part prefetches its share of both columns
      for (int64_t part = 0; part < kParts * rows; ++part) {
        const int64_t row = part / kParts, within = part % kParts;
        float* to = sums + (row * columns + c) * kSums + within * kRows * kSide;
        float* const outputs[2] = {to, to + kSums};
        const int64_t half = part % 2;  // odd parts prefetch the second column
        const N* next = last ? b.tile(column + c + 2 + half, 0) : b.tile(column + c + half, d + kCached);
        some_rows(a.tile(row, d) + within * kRows * kDepth, right, cached, outputs, accumulate || d,
                  next + part / 2 * lines * cached * kLine, lines);
      }
    }
}

struct Fp32 {
  using Number = float;
  using Stored = Fp32;  // how the forward pass stores the activations of the gates for the backward pass
  using Row = Floats;   // 16 numbers
  // Numbers of columns, and of tiles of the left factor, that are multiplied at a time; these tiles stay in the L2 cache.
  static constexpr int64_t kColumns = 2, kLeftTiles = 384;
  // How an activation s, between 0 and 1, is stored, and how s and 1 − s are computed from the stored number.
  static Floats encode_gate(Floats s) { return s; }
  static Floats decode_gate(Floats x) { return x; }
  static Floats decode_one_minus_gate(Floats x) { return sub(set(1.0f), x); }
  struct Session {};  // lives as long as products are computed; AMX configures its registers here

  // One half of a row of a left factor's tile, or both halves.
  static Row row(const float* from, int64_t half) { return load(from + half * kSide); }
  static Floats get(const float* from, int64_t half) { return row(from, half); }
  static void put(float* row, int64_t half, Floats x) { store(row + half * kSide, x); }
  static void put(float* row, Floats low, Floats high) { put(row, 0, low), put(row, 1, high); }

  // Fill a tile from 32 rows of 16 numbers, which `row(k)` returns: a right factor's tile, or, transposed, a left factor's.
  template <typename Get>
  static void put_right(float* to, const Get& row) {
    for (int64_t k = 0; k < kDepth; ++k) store(to + k * kSide, row(k));
  }
  template <typename Get>
  static void put_left_transposed(float* to, const Get& row) {
    for (int64_t i = 0; i < 2; ++i) {
      Floats rows[16];
      for (int64_t k = 0; k < kSide; ++k) rows[k] = row(i * kSide + k);
      store_transposed(to + i * kSide, kDepth, rows);
    }
  }
  // Fills a right factor's tile from 16 columns of 32 numbers: `column(n, i)` returns half i of column n.
  template <typename Get>
  static void put_columns(float* to, const Get& column) {
    for (int64_t i = 0; i < 2; ++i) {
      Floats rows[16];
      for (int64_t n = 0; n < kSide; ++n) rows[n] = column(n, i);
      store_transposed(to + i * kSide * kSide, kSide, rows);
    }
  }

  // Multiplies kRows of the 16 rows of a row of tiles by two columns, `depths` tiles deep, and adds to `sums` [kRows][16] of each column, or starts
  // from zeros. For each tile it prefetches `lines` cache lines, beginning at `upcoming`. Not inlined: inlined by GCC it is
  // 7 % slower.
#if LSTMP_VECTORS == 512
  static constexpr int kRows = kSide / 2;
  [[gnu::noinline]] static void some_rows(const float* a, const float* const* b, int64_t depths, float* const* sums,
                                          bool accumulate, const float* upcoming, int64_t lines) {
    Floats s[kRows][2];
    for (int r = 0; r < kRows; ++r)
      for (int c = 0; c < 2; ++c) s[r][c] = accumulate ? load(sums[c] + r * kSide) : zero();
    for (int64_t tile = 0; tile < depths * kTile; tile += kTile, a += kTile) {
      for (int r = 0; r < kRows; ++r)
        for (int half = 0; half < 2; ++half) prefetch_line<1>(a + kTile + r * kDepth + half * kSide);
      for (int64_t i = 0; i < lines; ++i, upcoming += kSide) prefetch_line<2>(upcoming);
      for (int64_t k = 0; k < kDepth; ++k) {
        const Floats low = load(b[0] + tile + k * kSide), high = load(b[1] + tile + k * kSide);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          const Floats left = set(a[r * kDepth + k]);
          s[r][0] = fmadd(left, low, s[r][0]), s[r][1] = fmadd(left, high, s[r][1]);
        }
      }
    }
    for (int r = 0; r < kRows; ++r)
      for (int c = 0; c < 2; ++c) store(sums[c] + r * kSide, s[r][c]);
  }
#else
  static constexpr int kRows = kSide;
  [[gnu::noinline]] static void some_rows(const float* a, const float* const* b, int64_t depths, float* const* sums,
                                          bool accumulate, const float* upcoming, int64_t lines) {
    const int64_t share = tiles_of(lines, 6);  // of the lines to prefetch, for each of six calls
    for (int c = 0; c < 2; ++c, upcoming += 3 * share * depths * kSide) {
      rows_by_column<6>(a, b[c], depths, sums[c], accumulate, upcoming, share);
      rows_by_column<5>(a + 6 * kDepth, b[c], depths, sums[c] + 6 * kSide, accumulate, upcoming + share * depths * kSide, share);
      rows_by_column<5>(a + 11 * kDepth, b[c], depths, sums[c] + 11 * kSide, accumulate, upcoming + 2 * share * depths * kSide,
                        share);
    }
  }
  // With six rows, their sums and the factors fill the sixteen registers of AVX2; with four, additions would wait for each other.
  template <int kCount>
  static void rows_by_column(const float* a, const float* b, int64_t depths, float* sums, bool accumulate, const float* upcoming,
                             int64_t lines) {
    Floats s[kCount];
    for (int r = 0; r < kCount; ++r) s[r] = accumulate ? load(sums + r * kSide) : zero();
    for (int64_t tile = 0; tile < depths; ++tile, a += kTile - kDepth) {
      for (int r = 0; r < kCount; ++r)
        for (int half = 0; half < 2; ++half) prefetch_line<1>(a + kTile + r * kDepth + half * kSide);
      for (int64_t i = 0; i < lines; ++i, upcoming += kSide) prefetch_line<2>(upcoming);
      for (int64_t k = 0; k < kDepth; ++k, ++a, b += kSide) {
        const Floats row = load(b);
#pragma GCC unroll 6
        for (int r = 0; r < kCount; ++r) s[r] = fmadd(set(a[r * kDepth]), row, s[r]);
      }
    }
    for (int r = 0; r < kCount; ++r) store(sums + r * kSide, s[r]);
  }
#endif

  // sums [rows][columns][16][16] = or += `rows` rows of tiles times `columns` (an even number) columns, beginning with
  // `column`.
  static void times(const Blocked<float>& a, int64_t rows, const Panel<float>& b, int64_t column, int64_t columns,
                    int64_t depths, float* sums, bool accumulate) {
    times_by_rows<kRows>(a, rows, b, column, columns, depths, sums, accumulate, some_rows);
  }
};

}  // namespace
