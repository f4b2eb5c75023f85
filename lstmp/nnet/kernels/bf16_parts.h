// Tiles whose factors are bfloat16 numbers, or sums of two or three of them. amx.h and bf16_dot.h multiply them.
#pragma once
#include "bfloat16.h"
#include "float32.h"

#if defined(LSTMP_BF16)

namespace {

// A float32 factor as the sum of `kParts` bfloat16 numbers (matrices.h names the three precisions). A row of a tile holds the
// first parts of its 32 numbers, then the second parts, then the third. A right factor's tile holds pairs, as matrices.h says.
template <int kParts>
struct Bf16Parts {
  struct Number {
    uint16_t parts[kParts];
  };
  // Activations of the gates are not factors: where two parts would be needed, float32 is as short.
  using Stored = std::conditional_t<kParts == 1, Bf16Parts, Fp32>;
  // Part `p` of the 32 numbers that begin at `row`.
  static uint16_t* part_of(Number* row, int p) { return reinterpret_cast<uint16_t*>(row) + p * kDepth; }
  static const uint16_t* part_of(const Number* row, int p) { return reinterpret_cast<const uint16_t*>(row) + p * kDepth; }
  // How an activation s is stored in bfloat16. Above 1/2 the stored number is −(1 − s): bfloat16 rounds everything above 0.998
  // to 1, and the gradient that passes back through a forget gate over hundreds of frames would then not decay.
  static Floats encode_gate(Floats s) { return if_above(s, 0.5f, negated(sub(set(1.0f), s)), s); }  // −0 for s = 1
  static Floats decode_gate(Floats x) { return if_minus(x, add(x, set(1.0f)), x); }
  static Floats decode_one_minus_gate(Floats x) { return if_minus(x, negated(x), sub(set(1.0f), x)); }

  // All parts of 16 numbers, and of 32.
  struct Row {
    Bf16x16 parts[kParts];
  };
  struct Rows {
    Bf16x32 parts[kParts];
  };
  static Rows joined(const Row& a, const Row& b) {
    Rows out;
    for (int p = 0; p < kParts; ++p) out.parts[p] = join(a.parts[p], b.parts[p]);
    return out;
  }
  static Rows joined(Floats a, Floats b) {
    Rows out;
    for (int p = 0; p < kParts; ++p) {
      const Bf16x32 part = out.parts[p] = narrow(a, b);
      if (p + 1 == kParts) break;
      a = sub(a, widen(low_half(part)));
      b = sub(b, widen(high_half(part)));
    }
    return out;
  }
  // Interleaves two rows: (a[0], b[0], a[1], b[1], …); `a` and `b` are Row or float32.
  template <typename R>
  static Rows pair(const R& a, const R& b) {
    Rows out = joined(a, b);
    for (Bf16x32& part : out.parts) part = interleave(part);
    return out;
  }

  static Row row(const Number* from, int64_t half) {
    Row out;
    for (int p = 0; p < kParts; ++p) out.parts[p] = load_16(part_of(from, p) + half * kSide);
    return out;
  }
  static Floats get(const Number* row, int64_t half) {
    static_assert(kParts == 1, "stored activations have one part");
    return widen(load_16(part_of(row, 0) + half * kSide));
  }
  static void put(Number* row, int64_t half, Floats x) {
    for (int p = 0; p < kParts; ++p) {
      const Bf16x16 part = narrow(x);
      store_16(part_of(row, p) + half * kSide, part);
      if (p + 1 < kParts) x = sub(x, widen(part));
    }
  }
  static void put(Number* row, const Rows& numbers) {
    for (int p = 0; p < kParts; ++p) store_32(part_of(row, p), numbers.parts[p]);
  }
  static void put(Number* row, Floats low, Floats high) { put(row, joined(low, high)); }

  template <typename Get>
  static void put_right(Number* to, const Get& row) {
    for (int64_t k = 0; k < kSide; ++k) put(to + k * kDepth, pair(row(2 * k), row(2 * k + 1)));
  }
  template <typename Get>
  static void put_left_transposed(Number* to, const Get& row) {
    put_transposed(to, [&](int64_t k) { return pair(row(2 * k), row(2 * k + 1)); });
  }
  template <typename Get>
  static void put_columns(Number* to, const Get& column) {
    put_transposed(to, [&](int64_t n) { return joined(column(n, 0), column(n, 1)); });
  }
  template <typename Get>
  static void put_transposed(Number* to, const Get& rows) {
    Bf16x32 pairs[kParts][16];
    for (int64_t k = 0; k < kSide; ++k) {
      const Rows numbers = rows(k);
      for (int p = 0; p < kParts; ++p) pairs[p][k] = numbers.parts[p];
    }
    for (int p = 0; p < kParts; ++p) store_pairs_transposed(part_of(to, p), kDepth * kParts, pairs[p]);
  }
};

}  // namespace

#endif
