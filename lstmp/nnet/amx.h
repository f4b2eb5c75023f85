// Matrix products on AMX: factors in bfloat16, sums in float32.
//
// A tile register holds 16 rows of 64 bytes. TDPBF16PS adds to C, 16×16 float32, the product of A, 16×32 bfloat16, and
// B, 32×16, which lies in memory as 16 rows of 16 pairs (B[2k][n], B[2k+1][n]). Whatever is a factor is therefore kept
// tile by tile: a left one as `Blocked`, a right one as `Panel`. Both are padded with zeros to whole tiles.
#pragma once
#include <immintrin.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

namespace {

constexpr int64_t kSide = 16, kDepth = 32, kTile = 512;  // rows or columns, depth, bfloat16 numbers of a tile

inline int64_t tiles_of(int64_t n, int64_t side) { return (n + side - 1) / side; }
inline __mmask16 mask_of(int64_t count) { return count >= 16 ? 0xffff : count <= 0 ? 0 : (1u << count) - 1; }

// Memory of one thread, kept from call to call: fresh pages cost more than what is computed in them.
template <typename T>
struct Buffer {
  T* data = nullptr;
  int64_t size = 0;
  T* at_least(int64_t n) {
    if (n > size) {
      std::free(data);
      data = static_cast<T*>(std::aligned_alloc(64, tiles_of(n * sizeof(T), 64) * 64));
      if (!data) std::abort();
      size = n;
    }
    return data;
  }
  T* zeros(int64_t n) { return static_cast<T*>(std::memset(at_least(n), 0, n * sizeof(T))); }
  ~Buffer() { std::free(data); }
};

// Left factor: 16 rows by 32 columns after another, all column tiles of the first 16 rows, then of the next.
struct Blocked {
  uint16_t* data;
  int64_t depths;
  uint16_t* tile(int64_t row, int64_t depth) const { return data + (row * depths + depth) * kTile; }
  Blocked from(int64_t row) const { return {data + row * depths * kTile, depths}; }
};

// Right factor: 32 rows by 16 columns after another, in pairs of rows; all row tiles of the first 16 columns, then of the next.
struct Panel {
  uint16_t* data;
  int64_t depths;
  uint16_t* tile(int64_t column, int64_t depth) const { return data + (column * depths + depth) * kTile; }
};

// The calling thread's tile registers, all 16×64 bytes while this lives; then what they were before (oneDNN has its own).
struct Tiles {
  struct alignas(64) Layout {
    uint8_t palette = 0, start_row = 0, zero[14] = {0};
    uint16_t bytes[16] = {0};
    uint8_t rows[16] = {0};
  } before;
  Tiles() {
    _tile_storeconfig(&before);
    Layout all;
    all.palette = 1;
    for (int i = 0; i < 8; ++i) all.bytes[i] = 64, all.rows[i] = kSide;
    _tile_loadconfig(&all);
  }
  ~Tiles() {
    if (before.palette) _tile_loadconfig(&before);
    else _tile_release();
  }
};

// Tiles 0 … 3 = 0. What was stored before is in memory: GCC's tile loads do not tell the compiler that they read it.
inline void clear_tiles() {
  __asm__ volatile("" ::: "memory");
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

// The first `count` of these tiles into [count][16][16].
inline void store_tiles(float* to, int64_t count) {
  _tile_stored(0, to, 64);
  if (count < 2) return;
  _tile_stored(1, to + 256, 64);
  if (count < 3) return;
  _tile_stored(2, to + 512, 64);
  if (count < 4) return;
  _tile_stored(3, to + 768, 64);
}

inline __m512 part(const float* from, __mmask16 mask) { return _mm512_maskz_loadu_ps(mask, from); }
inline __m256i narrow(__m512 x) { return (__m256i)_mm512_cvtneps_pbh(x); }
inline __m512i narrow(__m512 low, __m512 high) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }
inline __m512 wide(__m256i x) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16)); }
inline __m256i half(const uint16_t* from) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(from)); }
inline void put(uint16_t* to, __m256i x) { _mm256_store_si256(reinterpret_cast<__m256i*>(to), x); }

// (a0, b0, a1, b1, …) of a0 … a15, b0 … b15
inline __m512i in_pairs(__m512i x) {
  alignas(64) static const uint16_t order[32] = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23,
                                                 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_permutexvar_epi16(_mm512_load_si512(order), x);
}

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

// Fills row tiles from 0 on with `rows` rows of float32, `ld` apart; the tiles from column tile `depth` on.
inline void block(const Blocked& to, int64_t depth, const float* from, int64_t rows, int64_t columns, int64_t ld) {
  for (int64_t r = 0; r < tiles_of(rows, kSide); ++r)
    for (int64_t d = 0; d * kDepth < columns; ++d) {
      uint16_t* out = to.tile(r, depth + d);
      const __mmask16 low = mask_of(columns - d * kDepth), high = mask_of(columns - d * kDepth - kSide);
      for (int64_t n = 0; n < kSide; ++n, out += kDepth) {
        const float* in = from + (r * kSide + n) * ld + d * kDepth;
        const bool there = r * kSide + n < rows;
        _mm512_store_si512(out, there ? narrow(part(in, low), part(in + kSide, high)) : _mm512_setzero_si512());
      }
    }
}

// Fills the tiles of one column with wᵀ, w being [n ≤ 16, k]: part of the factor of x wᵀ.
inline void pack_transposed(const Panel& p, int64_t column, const float* w, int64_t n, int64_t k) {
  __m512i words[16];
  for (int64_t d = 0; d < p.depths; ++d) {
    const __mmask16 low = mask_of(k - d * kDepth), high = mask_of(k - d * kDepth - kSide);
    for (int64_t j = 0; j < kSide; ++j) {
      const float* in = w + j * k + d * kDepth;
      words[j] = j < n ? narrow(part(in, low), part(in + kSide, high)) : _mm512_setzero_si512();
    }
    transpose(words);
    for (int64_t r = 0; r < kSide; ++r) _mm512_store_si512(p.tile(column, d) + r * kDepth, words[r]);
  }
}

// One pair of rows of a tile, from rows `w` and `w` + n of float32; `rows` of them are there.
inline void pack_pair(uint16_t* to, const float* w, int64_t rows, int64_t n, __mmask16 mask) {
  const __m512 none = _mm512_setzero_ps();
  _mm512_store_si512(to, in_pairs(narrow(rows > 0 ? part(w, mask) : none, rows > 1 ? part(w + n, mask) : none)));
}

// Fills the tiles from row tile `depth` on with w, [k, n]: the factor of y w.
inline void pack(const Panel& p, int64_t depth, const float* w, int64_t k, int64_t n, int64_t columns) {
  for (int64_t c = 0; c < columns; ++c)
    for (int64_t d = 0; d * kDepth < k; ++d)
      for (int64_t r = 0; r < kSide; ++r) {
        const int64_t row = d * kDepth + 2 * r;
        pack_pair(p.tile(c, depth + d) + r * kDepth, w + row * n + c * kSide, k - row, n, mask_of(n - c * kSide));
      }
}

// a b for row tiles `from` … `to` − 1 and `columns` (even) column tiles: calls store(row tile, column tile, sums [2][16][16])
// with two neighbouring column tiles at a time.
template <typename Store>
inline void multiply(const Blocked& a, int64_t from, int64_t to, const Panel& b, int64_t columns, const Store& store) {
  alignas(64) float sums[4 * 256];
  for (int64_t r = from; r < to; r += 2) {
    const bool two = r + 1 < to;
    for (int64_t c = 0; c < columns; c += 2) {
      clear_tiles();
      const uint16_t *high = a.tile(r, 0), *low = a.tile(r + two, 0), *left = b.tile(c, 0), *right = b.tile(c + 1, 0);
      for (int64_t d = 0; d < b.depths * kTile; d += kTile) {
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
      store_tiles(sums, two ? 4 : 2);
      store(r, c, sums);
      if (two) store(r + 1, c, sums + 512);
    }
  }
}

// Rows 2p and 2p + 1, p < 8, of each of two row tiles side by side, 16 columns (a `column` is half a tile) of them.
inline void pairs_of_rows(const Blocked& x, int64_t row, int64_t rows, int64_t column, __m512i* words) {
  for (int64_t i = 0; i < 2; ++i) {
    const uint16_t* in = x.tile(row + i, column / 2) + column % 2 * kSide;
    for (int64_t p = 0; p < 8; ++p, in += 2 * kDepth)
      words[8 * i + p] = row + i < rows ? in_pairs(_mm512_inserti64x4(_mm512_castsi256_si512(half(in)), half(in + kDepth), 1))
                                        : _mm512_setzero_si512();
  }
}

// A factor of aᵀ b, laid out by `panel_of`, and where the products go: add(column of a, column of b, sums [16][16]).
inline void panel_of(const Blocked& b, int64_t rows, int64_t columns, const Panel& to) {
  __m512i words[16];
  for (int64_t c = 0; c < columns; ++c)
    for (int64_t d = 0; d < to.depths; ++d) {
      pairs_of_rows(b, 2 * d, rows, c, words);
      for (int64_t r = 0; r < kSide; ++r) _mm512_store_si512(to.tile(c, d) + r * kDepth, words[r]);
    }
}

// aᵀ b, summed over `rows` row tiles, for `a_columns` and `b_columns` (even) columns of 16: calls store as multiply does.
// `scratch` holds 2 · b.depths tiles.
template <typename Store>
inline void multiply_transposed(const Blocked& a, int64_t rows, int64_t a_columns, const Panel& b, int64_t b_columns,
                                uint16_t* scratch, const Store& store) {
  const Blocked turned{scratch, b.depths};
  __m512i words[16];
  for (int64_t c = 0; c < a_columns; c += 2) {
    for (int64_t i = 0; i < 2; ++i)
      for (int64_t d = 0; d < b.depths; ++d) {
        pairs_of_rows(a, 2 * d, rows, c + i, words);
        transpose(words);
        for (int64_t r = 0; r < kSide; ++r) _mm512_store_si512(turned.tile(i, d) + r * kDepth, words[r]);
      }
    multiply(turned, 0, 2, b, b_columns, [&](int64_t r, int64_t column, const float* sums) { store(c + r, column, sums); });
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
