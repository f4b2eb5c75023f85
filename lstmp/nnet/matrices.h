// Matrix products of factors that are kept tile by tile, in the order in which the processor takes them, with sums in
// float32. A left factor is `Blocked`: 16 rows by 32 columns after another; a right one a `Panel`: 32 rows by 16 columns.
// Both are padded with zeros to whole tiles. Two kinds of number:
//
// * `Single`: float32, on AVX-512. A tile lies in memory row by row.
// * `Rounded`: bfloat16, on AMX. A tile register holds 16 rows of 64 bytes, and TDPBF16PS adds to C, 16×16 float32, the
//   product of A, 16×32, and B, 32×16, which must lie in memory as 16 rows of 16 pairs (B[2k][n], B[2k+1][n]).
#pragma once
#include <immintrin.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#if defined(__AMX_BF16__) && defined(__AMX_TILE__) && defined(__AVX512BF16__) && defined(__linux__)
#define LSTMP_AMX 1
#endif

namespace {

constexpr int64_t kSide = 16, kDepth = 32, kTile = 512;  // rows or columns, depth, numbers of a tile

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
      const int64_t bytes = tiles_of(n * sizeof(T), kPage) * kPage;
      data = static_cast<T*>(std::aligned_alloc(kPage, bytes));
      if (!data) std::abort();
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
  Blocked from(int64_t row) const { return {data + row * depths * kTile, depths}; }
};

// Right factor: all row tiles of the first 16 columns, then of the next.
template <typename N>
struct Panel {
  N* data;
  int64_t depths;
  N* tile(int64_t column, int64_t depth) const { return data + (column * depths + depth) * kTile; }
};

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

// float32 on AVX-512.
struct Single {
  using Number = float;
  // What is kept of a gate's opening s, between 0 and 1, and what is got back of it: s, and 1 − s.
  static __m512 kept(__m512 s) { return s; }
  static __m512 opening(__m512 x) { return x; }
  static __m512 closing(__m512 x) { return _mm512_sub_ps(_mm512_set1_ps(1.0f), x); }
  struct Session {};  // for as long as products are made

  static __m512 get(const float* from) { return _mm512_load_ps(from); }
  static void put(float* to, __m512 x) { _mm512_store_ps(to, x); }
  static void put(float* to, __m512 low, __m512 high) { _mm512_store_ps(to, low), _mm512_store_ps(to + kSide, high); }

  // A right factor's tile out of 32 rows of 16, or, turned, a left one's out of 32 rows of 16: `row(k)` gives one.
  template <typename Row>
  static void put_right(float* to, const Row& row) {
    for (int64_t k = 0; k < kDepth; ++k) _mm512_store_ps(to + k * kSide, row(k));
  }
  template <typename Row>
  static void put_turned(float* to, const Row& row) {
    for (int64_t i = 0; i < 2; ++i) {
      __m512i words[16];
      for (int64_t k = 0; k < kSide; ++k) words[k] = _mm512_castps_si512(row(i * kSide + k));
      transpose(words);
      for (int64_t r = 0; r < kSide; ++r) _mm512_store_si512(to + r * kDepth + i * kSide, words[r]);
    }
  }
  // A right factor's tile out of 16 columns of 32: `column(n, i)` gives half i of one.
  template <typename Column>
  static void put_columns(float* to, const Column& column) {
    for (int64_t i = 0; i < 2; ++i) {
      __m512i words[16];
      for (int64_t n = 0; n < kSide; ++n) words[n] = _mm512_castps_si512(column(n, i));
      transpose(words);
      for (int64_t k = 0; k < kSide; ++k) _mm512_store_si512(to + (i * kSide + k) * kSide, words[k]);
    }
  }

  static void ahead(const float* x) { _mm_prefetch(reinterpret_cast<const char*>(x), _MM_HINT_T0); }  // of the next tile

  // sums [columns][16][16] = a row of tiles times some columns of them, each `depths` deep.
  template <int kRows, int kColumns>
  static void some_rows(const float* a, const float* const* b, int64_t depths, float* sums) {
    __m512 s[kRows][kColumns];
    for (int r = 0; r < kRows; ++r)
      for (int c = 0; c < kColumns; ++c) s[r][c] = _mm512_setzero_ps();
    for (int64_t d = 0; d < depths; ++d, a += kTile) {
      const int64_t tile = d * kTile;
      for (int r = 0; r < kRows; ++r) ahead(a + kTile + r * kDepth), ahead(a + kTile + r * kDepth + kSide);
      for (int64_t k = 0; k < kDepth; ++k) {
        __m512 right[kColumns];
        for (int c = 0; c < kColumns; ++c) {
          right[c] = _mm512_load_ps(b[c] + tile + k * kSide);
          ahead(b[c] + tile + kTile + k * kSide);
        }
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
          const __m512 left = _mm512_set1_ps(a[r * kDepth + k]);
#pragma GCC unroll 4
          for (int c = 0; c < kColumns; ++c) s[r][c] = _mm512_fmadd_ps(left, right[c], s[r][c]);
        }
      }
    }
    for (int r = 0; r < kRows; ++r)
      for (int c = 0; c < kColumns; ++c) _mm512_store_ps(sums + c * 256 + r * kSide, s[r][c]);
  }
  template <int kColumns>
  static void row_times(const float* a, const float* const* b, int64_t depths, float* sums) {
    for (int64_t half = 0; half < kSide; half += 8) some_rows<8, kColumns>(a + half * kDepth, b, depths, sums + half * kSide);
  }
  // One row of tiles times four columns.
  static void one_by_four(const float* a, const float* const* b, int64_t depths, float* sums) {
    row_times<2>(a, b, depths, sums), row_times<2>(a, b + 2, depths, sums + 512);
  }
  // `rows` ≤ 4 rows of tiles times one column.
  static void four_by_one(const float* const* a, int64_t rows, const float* b, int64_t depths, float* sums) {
    for (int64_t r = 0; r < rows; ++r) row_times<1>(a[r], &b, depths, sums + r * 256);
  }
  // One or two rows of tiles times two columns, sums [rows][columns].
  static void two_by_two(const float* high, const float* low, bool two, const float* left, const float* right, int64_t depths,
                         float* sums) {
    const float* b[2] = {left, right};
    row_times<2>(high, b, depths, sums);
    if (two) row_times<2>(low, b, depths, sums + 512);
  }
};

#if defined(LSTMP_AMX)
// bfloat16 on AMX.
struct Rounded {
  using Number = uint16_t;
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
  static __m512i narrow(__m512 low, __m512 high) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }
  static __m512 get(const uint16_t* from) {
    const __m256i x = _mm256_load_si256(reinterpret_cast<const __m256i*>(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
  }
  static void put(uint16_t* to, __m512 x) { _mm256_store_si256(reinterpret_cast<__m256i*>(to), narrow(x)); }
  static void put(uint16_t* to, __m512 low, __m512 high) { _mm512_store_si512(to, narrow(low, high)); }

  // Rows 2k and 2k + 1 as (a0, b0, a1, b1, …)
  template <typename Row>
  static __m512i pair(const Row& row, int64_t k) {
    alignas(64) static const uint16_t order[32] = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23,
                                                   8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return _mm512_permutexvar_epi16(_mm512_load_si512(order), narrow(row(2 * k), row(2 * k + 1)));
  }
  template <typename Row>
  static void put_right(uint16_t* to, const Row& row) {
    for (int64_t k = 0; k < kSide; ++k) _mm512_store_si512(to + k * kDepth, pair(row, k));
  }
  template <typename Row>
  static void put_turned(uint16_t* to, const Row& row) {
    __m512i words[16];
    for (int64_t k = 0; k < kSide; ++k) words[k] = pair(row, k);
    transpose(words);
    for (int64_t r = 0; r < kSide; ++r) _mm512_store_si512(to + r * kDepth, words[r]);
  }
  template <typename Column>
  static void put_columns(uint16_t* to, const Column& column) {
    __m512i words[16];
    for (int64_t n = 0; n < kSide; ++n) words[n] = narrow(column(n, 0), column(n, 1));
    transpose(words);
    for (int64_t k = 0; k < kSide; ++k) _mm512_store_si512(to + k * kDepth, words[k]);
  }

  // Tiles 0 … 3 = 0. What was stored before is in memory: GCC's tile loads do not tell the compiler that they read it.
  static void clear() {
    __asm__ volatile("" ::: "memory");
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  // The first `count` of these tiles into [count][16][16].
  static void store(float* to, int64_t count) {
    _tile_stored(0, to, 64);
    if (count < 2) return;
    _tile_stored(1, to + 256, 64);
    if (count < 3) return;
    _tile_stored(2, to + 512, 64);
    if (count < 4) return;
    _tile_stored(3, to + 768, 64);
  }
  static void one_by_four(const uint16_t* a, const uint16_t* const* b, int64_t depths, float* sums) {
    clear();
    for (int64_t d = 0; d < depths * kTile; d += kTile) {
      _tile_loadd(4, a + d, 64);
      _tile_loadd(5, b[0] + d, 64);
      _tile_loadd(6, b[1] + d, 64);
      _tile_loadd(7, b[2] + d, 64);
      _tile_dpbf16ps(0, 4, 5);
      _tile_loadd(5, b[3] + d, 64);
      _tile_dpbf16ps(1, 4, 6);
      _tile_dpbf16ps(2, 4, 7);
      _tile_dpbf16ps(3, 4, 5);
    }
    store(sums, 4);
  }
  static void four_by_one(const uint16_t* const* a, int64_t rows, const uint16_t* b, int64_t depths, float* sums) {
    clear();
    for (int64_t d = 0; d < depths * kTile; d += kTile) {
      _tile_loadd(4, b + d, 64);
      _tile_loadd(5, a[0] + d, 64);
      _tile_dpbf16ps(0, 5, 4);
      if (rows < 2) continue;
      _tile_loadd(6, a[1] + d, 64);
      _tile_dpbf16ps(1, 6, 4);
      if (rows < 3) continue;
      _tile_loadd(7, a[2] + d, 64);
      _tile_dpbf16ps(2, 7, 4);
      if (rows < 4) continue;
      _tile_loadd(5, a[3] + d, 64);
      _tile_dpbf16ps(3, 5, 4);
    }
    store(sums, rows);
  }
  static void two_by_two(const uint16_t* high, const uint16_t* low, bool two, const uint16_t* left, const uint16_t* right,
                         int64_t depths, float* sums) {
    clear();
    for (int64_t d = 0; d < depths * kTile; d += kTile) {
      _tile_loadd(4, high + d, 64);
      _tile_loadd(6, left + d, 64);
      _tile_loadd(7, right + d, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      if (!two) continue;
      _tile_loadd(5, low + d, 64);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    store(sums, two ? 4 : 2);
  }
};
#endif

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

// a b for row tiles `from` … `to` − 1 and `columns` (even) column tiles: calls store(row tile, column tile, sums [2][16][16])
// with two neighbouring column tiles at a time.
template <class F, typename Store>
void multiply(const Blocked<typename F::Number>& a, int64_t from, int64_t to, const Panel<typename F::Number>& b,
              int64_t columns, const Store& store) {
  alignas(64) float sums[4 * 256];
  for (int64_t r = from; r < to; r += 2) {
    const bool two = r + 1 < to;
    for (int64_t c = 0; c < columns; c += 2) {
      F::two_by_two(a.tile(r, 0), a.tile(r + two, 0), two, b.tile(c, 0), b.tile(c + 1, 0), b.depths, sums);
      store(r, c, sums);
      if (two) store(r + 1, c, sums + 512);
    }
  }
}

// 16 columns (a `column` is half a tile) of a row of x; zeros beyond `rows` row tiles.
template <class F>
__m512 in_row(const Blocked<typename F::Number>& x, int64_t row, int64_t rows, int64_t column) {
  if (row / kSide >= rows) return _mm512_setzero_ps();
  return F::get(x.tile(row / kSide, column / 2) + row % kSide * kDepth + column % 2 * kSide);
}

// b as the right factor of aᵀ b.
template <class F>
void panel_of(const Blocked<typename F::Number>& b, int64_t rows, int64_t columns, const Panel<typename F::Number>& to) {
  for (int64_t c = 0; c < columns; ++c)
    for (int64_t d = 0; d < to.depths; ++d)
      F::put_right(to.tile(c, d), [&](int64_t k) { return in_row<F>(b, d * kDepth + k, rows, c); });
}

// aᵀ b, summed over `rows` row tiles, for `a_columns` and `b_columns` (even) columns of 16: calls store as multiply does.
// `scratch` holds 2 · b.depths tiles.
template <class F, typename Store>
void multiply_transposed(const Blocked<typename F::Number>& a, int64_t rows, int64_t a_columns,
                         const Panel<typename F::Number>& b, int64_t b_columns, typename F::Number* scratch,
                         const Store& store) {
  const Blocked<typename F::Number> turned{scratch, b.depths};
  for (int64_t c = 0; c < a_columns; c += 2) {
    for (int64_t i = 0; i < 2; ++i)
      for (int64_t d = 0; d < b.depths; ++d)
        F::put_turned(turned.tile(i, d), [&](int64_t k) { return in_row<F>(a, d * kDepth + k, rows, c + i); });
    multiply<F>(turned, 0, 2, b, b_columns, [&](int64_t r, int64_t column, const float* sums) { store(c + r, column, sums); });
  }
}

// Two neighbouring tiles of sums to `rows` rows of float32, `ld` apart, of which `columns` are there.
inline void write(const float* sums, int64_t rows, int64_t columns, float* to, int64_t ld) {
  const __mmask16 low = mask_of(columns), high = mask_of(columns - kSide);
  for (int64_t n = 0; n < kSide && n < rows; ++n) {
    _mm512_mask_storeu_ps(to + n * ld, low, _mm512_load_ps(sums + n * kSide));
    _mm512_mask_storeu_ps(to + n * ld + kSide, high, _mm512_load_ps(sums + 256 + n * kSide));
  }
}

// eˣ for |x| < 80, as in kernels.cpp. The bound is the first operand of min and max, so that a NaN goes through.
inline __m512 exp_(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-80.0f), _mm512_min_ps(_mm512_set1_ps(80.0f), x));
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 0);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fmadd_ps(n, _mm512_set1_ps(2.12194440e-4f), r);
  __m512 p = _mm512_set1_ps(1.0f / 720);
  for (float c : {1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}) p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(c));
  return _mm512_scalef_ps(p, n);
}

inline __m512 inverse(__m512 x) {  // one Newton step after 14 bits
  const __m512 y = _mm512_rcp14_ps(x);
  return _mm512_mul_ps(y, _mm512_fnmadd_ps(x, y, _mm512_set1_ps(2.0f)));
}

inline __m512 sigmoid(__m512 x) {
  return inverse(_mm512_add_ps(_mm512_set1_ps(1.0f), exp_(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}

inline __m512 tanh_(__m512 x) {
  const __m512 one = _mm512_set1_ps(1.0f);
  return _mm512_fnmadd_ps(_mm512_set1_ps(2.0f), inverse(_mm512_add_ps(one, exp_(_mm512_add_ps(x, x)))), one);
}

}  // namespace
