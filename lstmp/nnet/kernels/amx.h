// Products of bfloat16 factors, or of sums of two or three of them, for processors with AMX.
#pragma once
#include "bf16_parts.h"

#if defined(LSTMP_BF16) && defined(__AMX_BF16__) && defined(__AMX_TILE__) && defined(__linux__)
#define LSTMP_AMX 1

#if !defined(LSTMP_STORE_TILE_CONFIG)  // a test, which emulates AMX, defines both
// Assembly, because the intrinsics of GCC 12 do not declare how much memory they read and write.
#define LSTMP_STORE_TILE_CONFIG(layout) __asm__ volatile("sttilecfg %0" : "=m"(layout))
#define LSTMP_LOAD_TILE_CONFIG(layout) __asm__ volatile("ldtilecfg %0" ::"m"(layout))
#endif

namespace {

// Of the products between the parts a0 + a1 + a2 and b0 + b1 + b2 of two factors only those with i + j < kParts are computed:
// a0 b0 + a0 b1 + a1 b0 for two parts, six products for three. All bits are kept for numbers and products above 1e-31: AMX
// treats numbers below 1e-38 as zero, and a part may be that small. With several parts, infinity and numbers that round to it
// (above 3.39e38) become NaN.
template <int kParts>
struct Amx : Bf16Parts<kParts> {
  using Base = Bf16Parts<kParts>;
  using Number = typename Base::Number;
  using Base::part_of;
  static constexpr int64_t kColumns = 4, kLeftTiles = 768 / kParts, kStride = 64 * kParts;

  // Sets all tile registers of the calling thread to 16×64 bytes for the lifetime of this object, then restores the previous
  // configuration, because oneDNN has its own.
  struct Session {
    struct alignas(64) Layout {
      uint8_t palette = 0, start_row = 0, zero[14] = {0};
      uint16_t bytes[16] = {0};
      uint8_t rows[16] = {0};
    } prev;
    Session() {
      LSTMP_STORE_TILE_CONFIG(prev);
      Layout all;
      all.palette = 1;
      for (int i = 0; i < 8; ++i) all.bytes[i] = 64, all.rows[i] = kSide;
      LSTMP_LOAD_TILE_CONFIG(all);
    }
    ~Session() {
      if (prev.palette) LSTMP_LOAD_TILE_CONFIG(prev);
      else _tile_release();
    }
  };

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
