// Tiles whose factors are bfloat16 numbers, or sums of two or three of them, for processors with AMX.
#pragma once
#include "float32.h"

#if defined(__AMX_BF16__) && defined(__AMX_TILE__) && defined(__AVX512BF16__) && defined(__linux__)
#define LSTMP_AMX 1

namespace {

// A float32 factor as the sum of `kParts` bfloat16 numbers (matrices.h names the three precisions). Of the products between
// the parts a0 + a1 + a2 and b0 + b1 + b2 only those with i + j < kParts are computed: a0 b0 + a0 b1 + a1 b0 for two parts,
// six products for three. All bits are kept for numbers and products above 1e-31: AMX treats numbers below 1e-38 as zero,
// and a part may be that small. With several parts, infinity and numbers that round to it (above 3.39e38) become NaN. A row
// of a tile holds the first parts of its 32 numbers, then the second parts, then the third.
template <int kParts>
struct Bf16Parts {
  struct Number {
    uint16_t parts[kParts];
  };
  // Activations of the gates are not factors: where two parts would be needed, float32 is as short.
  using Stored = std::conditional_t<kParts == 1, Bf16Parts, Fp32>;
  static constexpr int64_t kColumns = 4, kLeftTiles = 768 / kParts, kStride = 64 * kParts;
  // Part `p` of the 32 numbers that begin at `row`.
  static auto* part_of(Number* row, int p) { return reinterpret_cast<__m512i*>(row) + p; }
  static auto* part_of(const Number* row, int p) { return reinterpret_cast<const __m512i*>(row) + p; }
  // How an activation s is stored in bfloat16. Above 1/2 the stored number is −(1 − s): bfloat16 rounds everything above 0.998
  // to 1, and the gradient that passes back through a forget gate over hundreds of frames would then not decay.
  static __m512 encode_gate(__m512 s) {
    const __m512 shut = _mm512_sub_ps(_mm512_set1_ps(1.0f), s);
    const __mmask16 open = _mm512_cmp_ps_mask(s, _mm512_set1_ps(0.5f), _CMP_GT_OQ);
    return _mm512_mask_xor_ps(s, open, shut, _mm512_set1_ps(-0.0f));  // −(1 − s): its sign is there for s = 1 as well
  }
  static __m512 decode_gate(__m512 x) {
    return _mm512_mask_add_ps(x, _mm512_movepi32_mask(_mm512_castps_si512(x)), x, _mm512_set1_ps(1.0f));
  }
  static __m512 decode_one_minus_gate(__m512 x) {
    const __mmask16 open = _mm512_movepi32_mask(_mm512_castps_si512(x));
    return _mm512_mask_sub_ps(_mm512_sub_ps(_mm512_set1_ps(1.0f), x), open, _mm512_setzero_ps(), x);
  }

  // Sets all tile registers of the calling thread to 16×64 bytes for the lifetime of this object, then restores the previous
  // configuration, because oneDNN has its own.
  struct Session {
    struct alignas(64) Layout {
      uint8_t palette = 0, start_row = 0, zero[14] = {0};
      uint16_t bytes[16] = {0};
      uint8_t rows[16] = {0};
    } prev;
    Session() {
      // Assembly, because the intrinsics of GCC 12 do not declare how much memory they read and write.
      __asm__ volatile("sttilecfg %0" : "=m"(prev));
      Layout all;
      all.palette = 1;
      for (int i = 0; i < 8; ++i) all.bytes[i] = 64, all.rows[i] = kSide;
      __asm__ volatile("ldtilecfg %0" ::"m"(all));
    }
    ~Session() {
      if (prev.palette) __asm__ volatile("ldtilecfg %0" ::"m"(prev));
      else _tile_release();
    }
  };

  // All parts of 16 numbers, and of 32.
  struct Row {
    __m256i parts[kParts];
  };
  struct Rows {
    __m512i parts[kParts];
  };
  static __m256i narrow(__m512 x) { return (__m256i)_mm512_cvtneps_pbh(x); }
  static __m512 widen(__m256i x) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16)); }
  static Rows join(const Row& a, const Row& b) {
    Rows out;
    for (int p = 0; p < kParts; ++p) out.parts[p] = _mm512_inserti64x4(_mm512_castsi256_si512(a.parts[p]), b.parts[p], 1);
    return out;
  }
  static Rows join(__m512 a, __m512 b) {
    Rows out;
    for (int p = 0; p < kParts; ++p) {
      const __m512i part = out.parts[p] = (__m512i)_mm512_cvtne2ps_pbh(b, a);
      if (p + 1 == kParts) break;
      a = _mm512_sub_ps(a, widen(_mm512_castsi512_si256(part)));
      b = _mm512_sub_ps(b, widen(_mm512_extracti64x4_epi64(part, 1)));
    }
    return out;
  }
  // Interleaves two rows: (a[0], b[0], a[1], b[1], …); `a` and `b` are Row or float32.
  template <typename R>
  static Rows pair(const R& a, const R& b) {
    alignas(64) static const uint16_t order[32] = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23,
                                                   8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    Rows out = join(a, b);
    for (__m512i& part : out.parts) part = _mm512_permutexvar_epi16(_mm512_load_si512(order), part);
    return out;
  }

  static auto* half_of(Number* row, int64_t half, int p) { return reinterpret_cast<__m256i*>(part_of(row, p)) + half; }
  static auto* half_of(const Number* row, int64_t half, int p) { return reinterpret_cast<const __m256i*>(part_of(row, p)) + half; }
  static Row row(const Number* from, int64_t half) {
    Row out;
    for (int p = 0; p < kParts; ++p) out.parts[p] = _mm256_load_si256(half_of(from, half, p));
    return out;
  }
  static __m512 get(const Number* row, int64_t half) {
    static_assert(kParts == 1, "stored activations have one part");
    return widen(_mm256_load_si256(half_of(row, half, 0)));
  }
  static void put(Number* row, int64_t half, __m512 x) {
    for (int p = 0; p < kParts; ++p) {
      const __m256i part = narrow(x);
      _mm256_store_si256(half_of(row, half, p), part);
      if (p + 1 < kParts) x = _mm512_sub_ps(x, widen(part));
    }
  }
  static void put(Number* row, const Rows& numbers) {
    for (int p = 0; p < kParts; ++p) _mm512_store_si512(part_of(row, p), numbers.parts[p]);
  }
  static void put(Number* row, __m512 low, __m512 high) { put(row, join(low, high)); }

  template <typename Get>
  static void put_right(Number* to, const Get& row) {
    for (int64_t k = 0; k < kSide; ++k) put(to + k * kDepth, pair(row(2 * k), row(2 * k + 1)));
  }
  template <typename Get>
  static void put_left_transposed(Number* to, const Get& row) {
    store_transposed(to, [&](int64_t k) { return pair(row(2 * k), row(2 * k + 1)); });
  }
  template <typename Get>
  static void put_columns(Number* to, const Get& column) {
    store_transposed(to, [&](int64_t n) { return join(column(n, 0), column(n, 1)); });
  }
  template <typename Get>
  static void store_transposed(Number* to, const Get& rows) {
    __m512i words[kParts][16];
    for (int64_t k = 0; k < kSide; ++k) {
      const Rows numbers = rows(k);
      for (int p = 0; p < kParts; ++p) words[p][k] = numbers.parts[p];
    }
    for (int p = 0; p < kParts; ++p) {
      transpose(words[p]);
      for (int64_t r = 0; r < kSide; ++r) _mm512_store_si512(part_of(to + r * kDepth, p), words[p][r]);
    }
  }

  // Loads the sums of four products into tile registers 0 … 3, or zeros. The empty assembly makes earlier stores reach
  // memory: GCC's tile loads do not tell the compiler that they read it.
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
  // Adds part `p` of a row of tiles times part `q` of four columns.
  static void one_by_four(const Number* a, const Number* const* b, int64_t at, int p, int q) {
    _tile_loadd(4, part_of(a + at, p), kStride);
    _tile_loadd(5, part_of(b[0] + at, q), kStride);
    _tile_loadd(6, part_of(b[1] + at, q), kStride);
    _tile_loadd(7, part_of(b[2] + at, q), kStride);
    _tile_dpbf16ps(0, 4, 5);
    _tile_loadd(5, part_of(b[3] + at, q), kStride);
    _tile_dpbf16ps(1, 4, 6);
    _tile_dpbf16ps(2, 4, 7);
    _tile_dpbf16ps(3, 4, 5);
  }
  // Two rows of tiles times two columns of tiles.
  static void load_rows(const Number* const* a, int64_t at, int p) {
    _tile_loadd(4, part_of(a[0] + at, p), kStride);
    _tile_loadd(5, part_of(a[1] + at, p), kStride);
  }
  static void load_columns(const Number* const* b, int64_t at, int q) {
    _tile_loadd(6, part_of(b[0] + at, q), kStride);
    _tile_loadd(7, part_of(b[1] + at, q), kStride);
  }
  static void two_by_two() {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  // Like Fp32::times. If the number of rows of tiles is odd, the last one is multiplied by four columns at a time, or by two.
  static void times(const Blocked<Number>& a, int64_t rows, const Panel<Number>& b, int64_t column, int64_t columns,
                    int64_t depths, float* sums, bool add) {
    // All rows are multiplied by as much of two columns as the L1 cache holds, while the next piece is fetched into L2. With
    // one part, columns are rarely longer than that, and the weights are in L2 anyway.
    constexpr int64_t kCached = kParts == 1 ? kLeftTiles : 12 / kParts, kProducts = kParts * (kParts + 1) / 2;
    const int64_t pairs = rows / 2, lines = kParts == 1 || !pairs ? 0 : tiles_of(kSide * kParts, pairs * kProducts);
    for (int64_t c = 0; pairs && c < columns; c += 2)
      for (int64_t at = 0; at < depths; at += kCached) {
        const int64_t cached = depths - at < kCached ? depths - at : kCached;
        const Number* right[2] = {b.tile(column + c, at), b.tile(column + c + 1, at)};
        const Number* next = at + cached < depths ? b.tile(column + c, at + cached) : b.tile(column + c + 2, 0);
        for (int64_t r = 0; r < pairs; ++r) {
          const Number* left[2] = {a.tile(2 * r, at), a.tile(2 * r + 1, at)};
          float *high = sums + (2 * r * columns + c) * kSums, *low = high + columns * kSums;
          float* const outputs[4] = {high, high + kSums, low, low + kSums};
          const char* upcoming = reinterpret_cast<const char*>(next) + r * cached * kProducts * lines * 64;
          begin(outputs, add || at);
          for (int64_t d = 0; d < cached * kTile; d += kTile)
            for (int q = 0; q < kParts; ++q) {
              load_columns(right, d, q);
              for (int p = kParts - 1 - q; p >= 0; --p) {
                if (!q || q + 1 < kParts) load_rows(left, d, p);  // otherwise already loaded
                two_by_two();
                prefetch(upcoming, 64 * lines), prefetch(upcoming + b.depths * kTile * sizeof(Number), 64 * lines);
                upcoming += 64 * lines;
              }
            }
          end(outputs);
        }
      }
    alignas(64) float unused[kSums];
    for (int64_t c = 0; rows % 2 && c < columns; c += 4) {
      float* to = sums + ((rows - 1) * columns + c) * kSums;
      const bool four = c + 2 < columns;
      const int64_t third = column + c + (four ? 2 : 0);
      const Number* right[4] = {b.tile(column + c, 0), b.tile(column + c + 1, 0), b.tile(third, 0), b.tile(third + 1, 0)};
      float* const outputs[4] = {to, to + kSums, four ? to + 2 * kSums : unused, four ? to + 3 * kSums : unused};
      begin(outputs, add);
      for (int64_t d = 0; d < depths * kTile; d += kTile)
        for (int q = 0; q < kParts; ++q)  // the same order as above, so that a stream's sums do not depend on its position
          for (int p = kParts - 1 - q; p >= 0; --p) one_by_four(a.tile(rows - 1, 0), right, d, p, q);
      end(outputs);
    }
  }
};

}  // namespace

#endif
