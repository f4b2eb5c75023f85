// Tiles of bfloat16 factors, or of sums of two of them, on AMX.
#pragma once
#include "matrices.h"

#if defined(__AMX_BF16__) && defined(__AMX_TILE__) && defined(__AVX512BF16__) && defined(__linux__)
#define LSTMP_AMX 1

namespace {

// With one part a factor is rounded to bfloat16; with two it is the sum of two, a + a', which are 16 bits of mantissa, and a
// product is a b + a b' + a' b; infinity becomes NaN. A tile's row holds the first parts of its 32 numbers, then the second.
template <int kParts>
struct Bfloat16 {
  using Number = std::conditional_t<kParts == 1, uint16_t, uint32_t>;
  static constexpr int64_t kColumns = 4, kPart = 64 / sizeof(Number), kStride = 64 * kParts;
  // Of a gate that is more than half open −(1 − s) is kept: bfloat16 would make 1 of all above 0.998, and the gradient that
  // goes back through a forget gate over hundreds of frames would not decay.
  static __m512 kept(__m512 s) {
    const __m512 shut = _mm512_sub_ps(_mm512_set1_ps(1.0f), s);
    const __mmask16 open = _mm512_cmp_ps_mask(s, _mm512_set1_ps(0.5f), _CMP_GT_OQ);
    return _mm512_mask_xor_ps(s, open, shut, _mm512_set1_ps(-0.0f));  // −(1 − s): its sign is there for s = 1 as well
  }
  static __m512 opening(__m512 x) {
    return _mm512_mask_add_ps(x, _mm512_movepi32_mask(_mm512_castps_si512(x)), x, _mm512_set1_ps(1.0f));
  }
  static __m512 closing(__m512 x) {
    const __mmask16 open = _mm512_movepi32_mask(_mm512_castps_si512(x));
    return _mm512_mask_sub_ps(_mm512_sub_ps(_mm512_set1_ps(1.0f), x), open, _mm512_setzero_ps(), x);
  }

  // The calling thread's tile registers, all 16×64 bytes while this lives; then what they were before: oneDNN has its own.
  struct Session {
    struct alignas(64) Layout {
      uint8_t palette = 0, start_row = 0, zero[14] = {0};
      uint16_t bytes[16] = {0};
      uint8_t rows[16] = {0};
    } before;
    Session() {
      __asm__ volatile("sttilecfg %0" : "=m"(before));  // GCC 12's own do not say how much they read and write
      Layout all;
      all.palette = 1;
      for (int i = 0; i < 8; ++i) all.bytes[i] = 64, all.rows[i] = kSide;
      __asm__ volatile("ldtilecfg %0" ::"m"(all));
    }
    ~Session() {
      if (before.palette) __asm__ volatile("ldtilecfg %0" ::"m"(before));
      else _tile_release();
    }
  };

  static __m256i narrow(__m512 x) { return (__m256i)_mm512_cvtneps_pbh(x); }
  static __m512 widen(__m256i x) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16)); }
  // The parts of 32 numbers: calls store(part, its numbers).
  template <typename Store>
  static void in_parts(__m512 low, __m512 high, const Store& store) {
    for (int p = 0; p < kParts; ++p) {
      const __m512i part = (__m512i)_mm512_cvtne2ps_pbh(high, low);
      store(p, part);
      if (p + 1 == kParts) return;
      low = _mm512_sub_ps(low, widen(_mm512_castsi512_si256(part)));
      high = _mm512_sub_ps(high, widen(_mm512_extracti64x4_epi64(part, 1)));
    }
  }

  static __m512 get(const Number* row, int64_t half) {
    const auto part = [&](int p) { return widen(_mm256_load_si256(reinterpret_cast<const __m256i*>(row + p * kPart) + half)); };
    const __m512 x = part(0);
    if (kParts == 1) return x;
    return _mm512_or_ps(_mm512_add_ps(x, part(1)), _mm512_and_ps(x, _mm512_set1_ps(-0.0f)));  // −0 + 0 is 0, see kept()
  }
  static void put(Number* row, int64_t half, __m512 x) {
    for (int p = 0; p < kParts; ++p) {
      const __m256i part = narrow(x);
      _mm256_store_si256(reinterpret_cast<__m256i*>(row + p * kPart) + half, part);
      if (p + 1 < kParts) x = _mm512_sub_ps(x, widen(part));
    }
  }
  static void put(Number* row, __m512 low, __m512 high) {
    in_parts(low, high, [&](int p, __m512i part) { _mm512_store_si512(row + p * kPart, part); });
  }

  // Rows 2k and 2k + 1 as (a0, b0, a1, b1, …)
  template <typename Row, typename Store>
  static void pair(const Row& row, int64_t k, const Store& store) {
    alignas(64) static const uint16_t order[32] = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23,
                                                   8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    in_parts(row(2 * k), row(2 * k + 1), [&](int p, __m512i part) {
      store(p, _mm512_permutexvar_epi16(_mm512_load_si512(order), part));
    });
  }
  template <typename Row>
  static void put_right(Number* to, const Row& row) {
    for (int64_t k = 0; k < kSide; ++k)
      pair(row, k, [&](int p, __m512i part) { _mm512_store_si512(to + k * kDepth + p * kPart, part); });
  }
  template <typename Row>
  static void put_turned(Number* to, const Row& row) {
    __m512i words[kParts][16];
    for (int64_t k = 0; k < kSide; ++k) pair(row, k, [&](int p, __m512i part) { words[p][k] = part; });
    put_transposed(to, words);
  }
  template <typename Column>
  static void put_columns(Number* to, const Column& column) {
    __m512i words[kParts][16];
    for (int64_t n = 0; n < kSide; ++n) in_parts(column(n, 0), column(n, 1), [&](int p, __m512i part) { words[p][n] = part; });
    put_transposed(to, words);
  }
  static void put_transposed(Number* to, __m512i (*words)[16]) {
    for (int p = 0; p < kParts; ++p) {
      transpose(words[p]);
      for (int64_t r = 0; r < kSide; ++r) _mm512_store_si512(to + r * kDepth + p * kPart, words[p][r]);
    }
  }

  // Tiles 0 … 3 = sums of four products, or zeros. What was stored before is in memory: GCC's tile loads do not tell the
  // compiler that they read it.
  static void begin(const float* const* sums, bool add) {
    __asm__ volatile("" ::: "memory");
    if (add) {
      _tile_loadd(0, sums[0], 64);
      _tile_loadd(1, sums[1], 64);
      _tile_loadd(2, sums[2], 64);
      _tile_loadd(3, sums[3], 64);
    } else {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
    }
  }
  static void end(float* const* sums) {
    _tile_stored(0, sums[0], 64);
    _tile_stored(1, sums[1], 64);
    _tile_stored(2, sums[2], 64);
    _tile_stored(3, sums[3], 64);
  }
  // A row of tiles times four columns, part `p` of the one by part `q` of the others.
  static void one_by_four(const Number* a, const Number* const* b, int64_t at, int p, int q) {
    _tile_loadd(4, a + at + p * kPart, kStride);
    _tile_loadd(5, b[0] + at + q * kPart, kStride);
    _tile_loadd(6, b[1] + at + q * kPart, kStride);
    _tile_loadd(7, b[2] + at + q * kPart, kStride);
    _tile_dpbf16ps(0, 4, 5);
    _tile_loadd(5, b[3] + at + q * kPart, kStride);
    _tile_dpbf16ps(1, 4, 6);
    _tile_dpbf16ps(2, 4, 7);
    _tile_dpbf16ps(3, 4, 5);
  }
  // Two rows of tiles times two columns.
  static void load_rows(const Number* const* a, int64_t at, int p) {
    _tile_loadd(4, a[0] + at + p * kPart, kStride);
    _tile_loadd(5, a[1] + at + p * kPart, kStride);
  }
  static void load_columns(const Number* const* b, int64_t at, int q) {
    _tile_loadd(6, b[0] + at + q * kPart, kStride);
    _tile_loadd(7, b[1] + at + q * kPart, kStride);
  }
  static void two_by_two() {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  // As Single's. A last row of tiles, where their number is odd, is multiplied by four columns at a time, or by two.
  static void times(const Blocked<Number>& a, int64_t rows, const Panel<Number>& b, int64_t column, int64_t columns,
                    float* sums, bool add) {
    const int64_t depth = b.depths * kTile;
    for (int64_t c = 0; c < columns; c += 2)
      for (int64_t r = 0; r + 1 < rows; r += 2) {
        const Number *left[2] = {a.tile(r, 0), a.tile(r + 1, 0)}, *right[2] = {b.tile(column + c, 0), b.tile(column + c + 1, 0)};
        float *high = sums + (r * columns + c) * kSums, *low = high + columns * kSums;
        float* const places[4] = {high, high + kSums, low, low + kSums};
        begin(places, add);
        for (int64_t d = 0; d < depth; d += kTile) {
          load_columns(right, d, 0);
          for (int p = kParts - 1; p >= 0; --p) load_rows(left, d, p), two_by_two();
          if (kParts > 1) load_columns(right, d, 1), two_by_two();
        }
        end(places);
      }
    alignas(64) float unused[kSums];
    for (int64_t c = 0; rows % 2 && c < columns; c += 4) {
      float* to = sums + ((rows - 1) * columns + c) * kSums;
      const bool four = c + 2 < columns;
      const int64_t third = column + c + (four ? 2 : 0);
      const Number* right[4] = {b.tile(column + c, 0), b.tile(column + c + 1, 0), b.tile(third, 0), b.tile(third + 1, 0)};
      float* const places[4] = {to, to + kSums, four ? to + 2 * kSums : unused, four ? to + 3 * kSums : unused};
      begin(places, add);
      for (int64_t d = 0; d < depth; d += kTile) {
        for (int p = 0; p < kParts; ++p) one_by_four(a.tile(rows - 1, 0), right, d, p, 0);
        if (kParts > 1) one_by_four(a.tile(rows - 1, 0), right, d, 0, 1);
      }
      end(places);
    }
  }
};
using Rounded = Bfloat16<1>;
using Split = Bfloat16<2>;

}  // namespace

#endif
