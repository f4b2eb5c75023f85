// Products of bfloat16 factors by instructions that add products of pairs: VDPBF16PS of AVX512_BF16, BFMMLA of ARM.
#pragma once
#include "bf16_parts.h"

#if defined(LSTMP_BF16)

namespace {

struct Bf16Dot : Bf16Parts<1> {
  static constexpr int64_t kColumns = 2, kLeftTiles = 768;
  static constexpr int kRows = kSide / 2;
  struct Session {};

  // Like Fp32::some_rows. GCC 12 keeps the sums in registers only if it is told to unroll all loops over them.
#if LSTMP_VECTORS == 512
  [[gnu::noinline]] static void some_rows(const Number* a, const Number* const* b, int64_t depths, float* const* sums,
                                          bool accumulate, const Number* upcoming, int64_t lines) {
    Floats s[kRows][2];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 2
      for (int c = 0; c < 2; ++c) s[r][c] = accumulate ? load(sums[c] + r * kSide) : zero();
    for (int64_t tile = 0; tile < depths * kTile; tile += kTile, a += kTile) {
      for (int r = 0; r < kRows; ++r) prefetch_line<1>(a + kTile + r * kDepth);
      for (int64_t i = 0; i < lines; ++i, upcoming += kDepth) prefetch_line<2>(upcoming);
      for (int64_t k = 0; k < kSide; ++k) {
        const Bf16x32 low = load_32(part_of(b[0] + tile + k * kDepth, 0)), high = load_32(part_of(b[1] + tile + k * kDepth, 0));
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          int32_t pair;
          std::memcpy(&pair, a + r * kDepth + 2 * k, sizeof(pair));
          const __m512bh left = (__m512bh)_mm512_set1_epi32(pair);
          s[r][0] = _mm512_dpbf16_ps(s[r][0], left, (__m512bh)low);
          s[r][1] = _mm512_dpbf16_ps(s[r][1], left, (__m512bh)high);
        }
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 2
      for (int c = 0; c < 2; ++c) store(sums[c] + r * kSide, s[r][c]);
  }
#else
  // BFMMLA adds to 2×2 sums the product of 2 rows of 4 numbers and 4 rows of 2: eight rows and eight columns at a time.
  [[gnu::noinline]] static void some_rows(const Number* a, const Number* const* b, int64_t depths, float* const* sums,
                                          bool accumulate, const Number* upcoming, int64_t lines) {
    for (int64_t i = 0; i < lines * depths; ++i) prefetch_line<2>(upcoming + i * kDepth);
    for (int c = 0; c < 2; ++c)
      for (int first = 0; first < kSide; first += 8) eight_columns(a, b[c] + 2 * first, depths, sums[c] + first, accumulate);
  }
  static void eight_columns(const Number* a, const Number* b, int64_t depths, float* sums, bool accumulate) {
    constexpr int kPairs = 4;  // of rows, and of columns
    float32x4_t s[kPairs][kPairs];
    for (int r = 0; r < kPairs; ++r)
      for (int c = 0; c < kPairs; ++c) {
        const float* at = sums + 2 * r * kSide + 2 * c;
        s[r][c] = accumulate ? vcombine_f32(vld1_f32(at), vld1_f32(at + kSide)) : vdupq_n_f32(0);
      }
    for (int64_t tile = 0; tile < depths; ++tile, a += kTile, b += kTile)
      for (int64_t k = 0; k < kSide; k += 2) {  // two rows of pairs: four numbers of each column
        const uint16_t *even = part_of(b + k * kDepth, 0), *odd = even + kDepth;
        bfloat16x8_t columns[kPairs];
        for (int c = 0; c < kPairs; c += 2) {
          const uint32x4_t low = vreinterpretq_u32_u16(vld1q_u16(even + 4 * c)), high = vreinterpretq_u32_u16(vld1q_u16(odd + 4 * c));
          columns[c] = vreinterpretq_bf16_u32(vzip1q_u32(low, high));
          columns[c + 1] = vreinterpretq_bf16_u32(vzip2q_u32(low, high));
        }
        for (int r = 0; r < kPairs; ++r) {
          const uint16_t* row = part_of(a + 2 * r * kDepth, 0) + 2 * k;
          const bfloat16x8_t rows = vreinterpretq_bf16_u16(vcombine_u16(vld1_u16(row), vld1_u16(row + kDepth)));
          for (int c = 0; c < kPairs; ++c) s[r][c] = vbfmmlaq_f32(s[r][c], rows, columns[c]);
        }
      }
    for (int r = 0; r < kPairs; ++r)
      for (int c = 0; c < kPairs; ++c) {
        float* at = sums + 2 * r * kSide + 2 * c;
        vst1_f32(at, vget_low_f32(s[r][c])), vst1_f32(at + kSide, vget_high_f32(s[r][c]));
      }
  }
#endif

  static void times(const Blocked<Number>& a, int64_t rows, const Panel<Number>& b, int64_t column, int64_t columns,
                    int64_t depths, float* sums, bool accumulate) {
    times_by_rows<kRows>(a, rows, b, column, columns, depths, sums, accumulate, some_rows);
  }
};

}  // namespace

#endif
