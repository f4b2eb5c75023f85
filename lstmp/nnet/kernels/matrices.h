// Tiles and their products, for matrices whose tiles lie in memory in the order in which the processor takes them
// (products.h). A left factor is `Blocked`, tiles of 16 rows by 32 columns; a right one a `Panel`, 32 rows by 16 columns.
// Both are padded with zeros to whole tiles. Sums are float32, factors of four kinds:
//
// * `Single` (avx512.h): float32. A tile lies in memory row by row.
// * `Rounded` (amx.h): bfloat16. A tile register holds 16 rows of 64 bytes, and TDPBF16PS adds to C, 16×16 float32, the
//   product of A, 16×32, and B, 32×16, which must lie in memory as 16 rows of 16 pairs (B[2k][n], B[2k+1][n]).
// * `Halves` and `Thirds` (amx.h): sums of two and of three bfloat16 numbers, of 16 and of 24 bits of mantissa.
#pragma once
#include <immintrin.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <type_traits>

namespace {

constexpr int64_t kSide = 16, kDepth = 32, kTile = 512;  // rows or columns, depth, numbers of a tile
constexpr int64_t kSums = kSide * kSide;                 // of a row of tiles times a column of them

inline int64_t tiles_of(int64_t n, int64_t side) { return (n + side - 1) / side; }
inline __mmask16 mask_of(int64_t count) { return count >= 16 ? 0xffff : count <= 0 ? 0 : (1u << count) - 1; }

constexpr int64_t kPage = 1 << 21;

// Asks the system for pages of 2 MB: walking through some MB with pages of 4 KB costs about 4 % of a product.
inline void in_large_pages(void* data, int64_t bytes) {
#if defined(__linux__)
  const auto from = tiles_of(reinterpret_cast<int64_t>(data), kPage) * kPage, to = (reinterpret_cast<int64_t>(data) + bytes) / kPage * kPage;
  if (to > from) madvise(reinterpret_cast<void*>(from), to - from, MADV_HUGEPAGE);
#else
  (void)data, (void)bytes;
#endif
}

// Memory of one thread, kept from call to call: fresh pages cost more than what is computed in them.
template <typename T>
struct Buffer {
  T* data = nullptr;
  int64_t size = 0;
  T* at_least(int64_t n) {
    if (n > size) {
      std::free(data);
      size = 0;
      const int64_t bytes = tiles_of(n * sizeof(T), kPage) * kPage;
      data = static_cast<T*>(std::aligned_alloc(kPage, bytes));
      if (!data) throw std::bad_alloc();
      in_large_pages(data, bytes);
      size = n;
    }
    return data;
  }
  T* zeros(int64_t n) { return static_cast<T*>(std::memset(at_least(n), 0, n * sizeof(T))); }
  ~Buffer() { std::free(data); }
};

// Left factor: all column tiles of the first 16 rows, then of the next.
template <typename N>
struct Blocked {
  N* data;
  int64_t depths;
  N* tile(int64_t row, int64_t depth) const { return data + (row * depths + depth) * kTile; }
  Blocked from(int64_t row, int64_t depth = 0) const { return {tile(row, depth), depths}; }
};

// Right factor: all row tiles of the first 16 columns, then of the next.
template <typename N>
struct Panel {
  N* data;
  int64_t depths;
  N* tile(int64_t column, int64_t depth) const { return data + (column * depths + depth) * kTile; }
  Panel from(int64_t depth) const { return {tile(0, depth), depths}; }
};

// Asks for a line of memory before it is read; where it lies nowhere, nothing happens.
template <int kHint, typename N>
void ask(const N* line) {
  _mm_prefetch(reinterpret_cast<const char*>(line), static_cast<decltype(_MM_HINT_T0)>(kHint));  // GCC's is an enum
}

// Asks for `count` numbers, to be in the second cache.
template <typename N>
void ask_for(const N* from, int64_t count) {
  const auto* line = reinterpret_cast<const char*>(from);
  for (const char* end = line + count * sizeof(N); line < end; line += 64) ask<_MM_HINT_T1>(line);
}

inline __m512 part(const float* from, __mmask16 mask) { return _mm512_maskz_loadu_ps(mask, from); }

// Rows for columns of 16×16 numbers of 32 bits.
inline void transpose(__m512i* r) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int k = 0; k < 4; ++k) {
    const __m512i even0 = _mm512_shuffle_i32x4(r[k], r[4 + k], 0x88), odd0 = _mm512_shuffle_i32x4(r[k], r[4 + k], 0xdd);
    const __m512i even1 = _mm512_shuffle_i32x4(r[8 + k], r[12 + k], 0x88), odd1 = _mm512_shuffle_i32x4(r[8 + k], r[12 + k], 0xdd);
    t[k] = _mm512_shuffle_i32x4(even0, even1, 0x88);
    t[8 + k] = _mm512_shuffle_i32x4(even0, even1, 0xdd);
    t[4 + k] = _mm512_shuffle_i32x4(odd0, odd1, 0x88);
    t[12 + k] = _mm512_shuffle_i32x4(odd0, odd1, 0xdd);
  }
  for (int i = 0; i < 16; ++i) r[i] = t[i];
}

}  // namespace
