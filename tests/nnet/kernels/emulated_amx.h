// Stand-ins for the instructions of AMX that the kernels use, for tests on processors with AVX-512 alone: compile with
// `-include` of this file.
#pragma once
#include "emulated_avx512_bf16.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

#if !defined(__AMX_TILE__)
#define __AMX_TILE__ 1
#define __AMX_BF16__ 1

namespace emulated {

struct Tile {
  alignas(64) char rows[16][64];
};
inline thread_local Tile tiles[8];

inline void load_tile(int tile, const void* from, int64_t stride) {
  for (int r = 0; r < 16; ++r) std::memcpy(tiles[tile].rows[r], static_cast<const char*>(from) + r * stride, 64);
}
inline void store_tile(int tile, void* to, int64_t stride) {
  for (int r = 0; r < 16; ++r) std::memcpy(static_cast<char*>(to) + r * stride, tiles[tile].rows[r], 64);
}
inline void dot_tiles(int sums, int a, int b) {
  for (int r = 0; r < 16; ++r) {
    __m512 sum = _mm512_load_ps(tiles[sums].rows[r]);
    for (int k = 0; k < 16; ++k) {
      int32_t pair;
      std::memcpy(&pair, tiles[a].rows[r] + 4 * k, 4);
      sum = dot(sum, _mm512_set1_epi32(pair), _mm512_load_si512(tiles[b].rows[k]));
    }
    _mm512_store_ps(tiles[sums].rows[r], sum);
  }
}

}  // namespace emulated

#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbf16ps
#define _tile_loadd(tile, from, stride) emulated::load_tile(tile, from, stride)
#define _tile_stored(tile, to, stride) emulated::store_tile(tile, to, stride)
#define _tile_zero(tile) (void)(emulated::tiles[tile] = {})
#define _tile_dpbf16ps(sums, a, b) emulated::dot_tiles(sums, a, b)
#define _tile_release() (void)0
#define syscall(...) 0  // the system grants what is asked for
#define LSTMP_STORE_TILE_CONFIG(layout) (void)(layout)
#define LSTMP_LOAD_TILE_CONFIG(layout) (void)(layout)
#endif
