// The recurrence of an LSTMP layer for scoring, without what a backward pass would need, for any number of streams, with the
// weights in float32, bfloat16 or 8-bit integers. Few streams do little with each weight, so what takes the time is to read
// the weights from memory: shorter ones are read faster, and unpacked to float32 in the L1 cache. lstmp/nnet/kernels/scoring.py
// calls these functions.
#include "vector.h"

#if defined(LSTMP_VECTORS)
#include "../../guard.h"
#include "elements.h"
#include "weights.h"

#include <algorithm>
#include <vector>

namespace {

#if LSTMP_VECTORS == 512
constexpr int kRows = 8, kColumns = 4;  // as many sums as fit into the registers: 8 rows × 2 columns, or 4 × 4
#else
constexpr int kRows = 4, kColumns = 1;
#endif
constexpr int64_t kPiece = 2;  // groups that are unpacked at a time: four columns of 64 numbers, 16 KB

// Adds to `sums` [rows][columns][16] the product of `kR` rows, `ld` numbers apart, and `kC` columns of `depth` × 16 numbers.
template <int kR, int kC>
inline void multiply_block(const float* rows, int64_t ld, const float* const* columns, int64_t depth, float* sums, int64_t width) {
  Floats s[kR][kC];
  for (int r = 0; r < kR; ++r)
    for (int c = 0; c < kC; ++c) s[r][c] = load(sums + r * width + c * kSide);
  for (int64_t k = 0; k < depth; ++k) {
    Floats right[kC];
    for (int c = 0; c < kC; ++c) right[c] = load(columns[c] + k * kSide);
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r) {
      const Floats left = set(rows[r * ld + k]);
#pragma GCC unroll 4
      for (int c = 0; c < kC; ++c) s[r][c] = fmadd(left, right[c], s[r][c]);
    }
  }
  for (int r = 0; r < kR; ++r)
    for (int c = 0; c < kC; ++c) store(sums + r * width + c * kSide, s[r][c]);
}

template <int kR>
inline void multiply_rows(const float* rows, int64_t ld, const float* const* columns, int count, int64_t depth, float* sums) {
  constexpr int kC = kR == 8 ? kColumns / 2 : kColumns;
  int c = 0;
  for (; c + kC <= count; c += kC) multiply_block<kR, kC>(rows, ld, columns + c, depth, sums + c * kSide, count * kSide);
  for (; c < count; ++c) multiply_block<kR, 1>(rows, ld, columns + c, depth, sums + c * kSide, count * kSide);
}

// sums [rows][count][16] += a [rows, `ld` apart] times `count` ≤ 4 packed columns, beginning with `column`.
template <class W>
void multiply(const float* a, int64_t rows, int64_t ld, const char* packed, int64_t column, int count, int64_t groups, float* sums) {
  alignas(64) static thread_local float unpacked[4 * kPiece * kGroup * kSide];
  for (int64_t g = 0; g < groups; g += kPiece) {
    const int64_t piece = std::min(kPiece, groups - g), depth = piece * kGroup;
    const float* columns[4];
    for (int c = 0; c < count; ++c) {
      const char* from = packed + ((column + c) * groups + g) * W::kBytes;
      columns[c] = W::unpack(from, piece, unpacked + c * kPiece * kGroup * kSide);
    }
    const float* left = a + g * kGroup;
    int64_t r = 0;
    if constexpr (kRows == 8)
      for (; r + 8 <= rows; r += 8) multiply_rows<8>(left + r * ld, ld, columns, count, depth, sums + r * count * kSide);
    for (; r + 4 <= rows; r += 4) multiply_rows<4>(left + r * ld, ld, columns, count, depth, sums + r * count * kSide);
    for (; r + 2 <= rows; r += 2) multiply_rows<2>(left + r * ld, ld, columns, count, depth, sums + r * count * kSide);
    if (r < rows) multiply_rows<1>(left + r * ld, ld, columns, count, depth, sums + r * count * kSide);
  }
}

// Memory aligned to a cache line, zeros at first.
struct Aligned {
  std::vector<float> memory;
  float* data;
  explicit Aligned(int64_t size) : memory(size + 16) {
    data = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64 / sizeof(float);
  }
};

// `sizes`: frames T, streams N, cells C, recurrent projections R (C without any). In: `from_x` [T, N, 4C], the products of the
// layer's input plus the bias; `peep` [3C] or null; `w_r` and `w_rm` as pack() writes them, the latter null without projection.
// In and out: `r` [N, R] and `c` [N, C]. Out: `y` [T, N, R], and `m` [T, N, C] unless null.
template <class W>
void run(const int64_t* sizes, const float* from_x, const float* peep, const char* w_r, const char* w_rm, float clip, float* r,
         float* c, float* y, float* m) {
  const int64_t frames = sizes[0], streams = sizes[1], cells = sizes[2], recs = sizes[3];
  const int64_t groups_r = groups_of(recs), groups_m = groups_of(cells), ld_r = groups_r * kGroup, ld_m = groups_m * kGroup;
  Aligned prev(streams * ld_r), now(streams * ld_m), sums(streams * 4 * kSide), no_peepholes(peep ? 0 : 3 * cells);
  if (!peep) peep = no_peepholes.data;
  for (int64_t n = 0; n < streams; ++n) std::memcpy(prev.data + n * ld_r, r + n * recs, recs * sizeof(float));
  const Floats top = set(clip), bottom = set(-clip);
  for (int64_t t = 0; t < frames; ++t) {
    float* out = w_rm ? now.data : nullptr;
    for (int64_t at = 0; at < cells; at += kSide) {
      const Lanes some = lanes(cells - at);
      std::memset(sums.data, 0, streams * 4 * kSide * sizeof(float));
      multiply<W>(prev.data, streams, ld_r, w_r, at / kSide * 4, 4, groups_r, sums.data);
      const Floats p_i = load(peep + at, some), p_f = load(peep + cells + at, some), p_o = load(peep + 2 * cells + at, some);
      for (int64_t n = 0; n < streams; ++n) {
        const auto input = [&](int64_t g) {
          return add(load(sums.data + (n * 4 + g) * kSide), load(from_x + ((t * streams + n) * 4 + g) * cells + at, some));
        };
        float* cell = c + n * cells + at;
        const CellStep step(input(0), input(1), input(2), input(3), load(cell, some), p_i, p_f, p_o, bottom, top);
        store(cell, some, step.c);
        store(out ? out + n * ld_m + at : y + (t * streams + n) * recs + at, some, step.m);
        if (m) store(m + (t * streams + n) * cells + at, some, step.m);
      }
    }
    if (w_rm)
      for (int64_t at = 0; at < recs; at += 4 * kSide) {
        const int count = static_cast<int>(std::min<int64_t>(4, (recs - at + kSide - 1) / kSide));
        std::memset(sums.data, 0, streams * count * kSide * sizeof(float));
        multiply<W>(now.data, streams, ld_m, w_rm, at / kSide, count, groups_m, sums.data);
        for (int64_t n = 0; n < streams; ++n)
          for (int64_t i = 0; i < count; ++i)
            store(y + (t * streams + n) * recs + at + i * kSide, lanes(recs - at - i * kSide),
                  load(sums.data + (n * count + i) * kSide));
      }
    for (int64_t n = 0; n < streams; ++n)
      std::memcpy(prev.data + n * ld_r, y + (t * streams + n) * recs, recs * sizeof(float));
  }
  for (int64_t n = 0; n < streams; ++n) std::memcpy(r + n * recs, prev.data + n * ld_r, recs * sizeof(float));
}

}  // namespace

#define LSTMP_SCORING(name, W)                                                                                              \
  extern "C" int64_t lstmp_packed_bytes_##name(int64_t columns, int64_t inputs) {                                           \
    return columns * groups_of(inputs) * static_cast<int64_t>(W::kBytes);                                                   \
  }                                                                                                                         \
  extern "C" void lstmp_pack_##name(const float* w, int64_t gates, int64_t units, int64_t inputs, char* to) {               \
    pack<W>(w, gates, units, inputs, to);                                                                                   \
  }                                                                                                                         \
  extern "C" void lstmp_score_##name(const int64_t* sizes, const float* from_x, const float* peep, const char* w_r,         \
                                     const char* w_rm, float clip, float* r, float* c, float* y, float* m) try {            \
    run<W>(sizes, from_x, peep, w_r, w_rm, clip, r, c, y, m);                                                               \
  } LSTMP_GUARD()

LSTMP_SCORING(fp32, Fp32Weights)
LSTMP_SCORING(bf16, Bf16Weights)
LSTMP_SCORING(int8, Int8Weights)

extern "C" int lstmp_scoring_ready() { return 1; }

#else  // the processor has no vectors that the kernels know

extern "C" int lstmp_scoring_ready() { return 0; }

#endif
