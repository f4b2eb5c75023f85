// Matrices stored tile by tile, in the order in which the processor reads them for a product (products.h). A left factor is
// `Blocked`, in tiles of 16 rows by 32 columns; a right factor is a `Panel`, in tiles of 32 rows by 16 columns. Both are
// padded with zeros to whole tiles. Sums are float32. The factors have one of four precisions, which fused.py names:
//
// * fp32, `Fp32` (float32.h): float32. A tile is stored row by row.
// * bf16, `Bf16Parts<1>` (bf16_parts.h): bfloat16. With AMX a tile register holds 16 rows of 64 bytes, and TDPBF16PS adds to C, 16×16 float32,
//   the product of A, 16×32, and B, 32×16; B must be stored as 16 rows of 16 pairs (B[2k][n], B[2k+1][n]).
//   The instructions of AVX512_BF16 and ARM that multiply pairs read the same tiles.
// * bf16x3, `Bf16Parts<2>`: sums of two bfloat16 numbers, 16 bits of mantissa; a product takes 3 bfloat16 products.
// * bf16x6, `Bf16Parts<3>`: sums of three bfloat16 numbers, 24 bits of mantissa; a product takes 6 bfloat16 products.
#pragma once
#include "vector.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <type_traits>

namespace {

constexpr int64_t kSide = 16, kDepth = 32, kTile = 512;  // rows or columns of a tile, its depth, and its numbers
constexpr int64_t kSums = kSide * kSide;                 // sums of a row of tiles times a column of tiles

inline int64_t tiles_of(int64_t n, int64_t side) { return (n + side - 1) / side; }

constexpr int64_t kPage = 1 << 21;

// Asks the system for pages of 2 MB: with pages of 4 KB a product of some MB is about 4 % slower.
inline void use_large_pages(void* data, int64_t bytes) {
#if defined(__linux__)
  const int64_t begin = reinterpret_cast<int64_t>(data);
  const int64_t from = tiles_of(begin, kPage) * kPage, to = (begin + bytes) / kPage * kPage;
  if (to > from) madvise(reinterpret_cast<void*>(from), to - from, MADV_HUGEPAGE);
#else
  (void)data, (void)bytes;
#endif
}

// Memory of one thread, reused from call to call: fresh pages cost more time than the computation in them.
template <typename T>
struct Buffer {
  T* data = nullptr;
  int64_t size = 0;
  T* reserve(int64_t n) {
    if (n > size) {
      std::free(data);
      size = 0;
      const int64_t bytes = tiles_of(n * sizeof(T), kPage) * kPage;
      data = static_cast<T*>(std::aligned_alloc(kPage, bytes));
      if (!data) throw std::bad_alloc();
      use_large_pages(data, bytes);
      size = n;
    }
    return data;
  }
  T* zeros(int64_t n) { return static_cast<T*>(std::memset(reserve(n), 0, n * sizeof(T))); }
  ~Buffer() { std::free(data); }
};

// A left factor: all tiles of the first 16 rows, then those of the next 16 rows.
template <typename N>
struct Blocked {
  N* data;
  int64_t depths;
  N* tile(int64_t row, int64_t depth) const { return data + (row * depths + depth) * kTile; }
  Blocked from(int64_t row, int64_t depth = 0) const { return {tile(row, depth), depths}; }
};

// A right factor: all tiles of the first 16 columns, then those of the next 16 columns.
template <typename N>
struct Panel {
  N* data;
  int64_t depths;
  N* tile(int64_t column, int64_t depth) const { return data + (column * depths + depth) * kTile; }
  Panel from(int64_t depth) const { return {tile(0, depth), depths}; }
};

// Prefetches one cache line, into the L1 cache if `kLevel` is 1, otherwise into L2. An address outside the process's memory
// does nothing.
template <int kLevel, typename N>
void prefetch_line(const N* line) {
  __builtin_prefetch(line, 0, kLevel == 1 ? 3 : 2);
}

// Prefetches `count` numbers into the L2 cache.
template <typename N>
void prefetch(const N* from, int64_t count) {
  const auto* line = reinterpret_cast<const char*>(from);
  for (const char* end = line + count * sizeof(N); line < end; line += 64) prefetch_line<2>(line);
}

}  // namespace
