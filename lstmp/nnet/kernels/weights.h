// How scoring.cpp stores weights: columns of 16 outputs, in groups of 32 inputs.
#pragma once
#include "vector.h"

#include <cmath>

namespace {

constexpr int64_t kSide = 16, kGroup = 32, kNumbers = kGroup * kSide;  // of a group: kGroup rows of kSide numbers

inline int64_t groups_of(int64_t inputs) { return (inputs + kGroup - 1) / kGroup; }

struct Fp32Weights {
  static constexpr size_t kBytes = kNumbers * sizeof(float);
  static void pack(const float* group, char* to) { std::memcpy(to, group, kBytes); }
  // Unpacks `groups` groups to `to`, or returns where they already are as float32.
  static const float* unpack(const char* from, int64_t, float*) { return reinterpret_cast<const float*>(from); }
};

// Rounded to the nearest bfloat16 number.
struct Bf16Weights {
  static constexpr size_t kBytes = kNumbers * sizeof(uint16_t);
  static void pack(const float* group, char* to) {
    auto* out = reinterpret_cast<uint16_t*>(to);
    for (int64_t i = 0; i < kNumbers; ++i) {
      uint32_t bits;
      std::memcpy(&bits, group + i, sizeof(bits));
      out[i] = static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }
  }
  static const float* unpack(const char* from, int64_t groups, float* to) {
    const auto* in = reinterpret_cast<const uint16_t*>(from);
    for (int64_t i = 0; i < groups * kNumbers; i += kSide) store(to + i, from_bf16(in + i));
    return to;
  }
};

// Whole numbers from −127 to 127 times a factor for each output of each group: its largest weight / 127.
struct Int8Weights {
  static constexpr size_t kBytes = kSide * sizeof(float) + kNumbers;
  static void pack(const float* group, char* to) {
    float scales[kSide];
    auto* out = reinterpret_cast<int8_t*>(to + sizeof(scales));
    for (int64_t n = 0; n < kSide; ++n) {
      float top = 0;
      for (int64_t k = 0; k < kGroup; ++k) top = std::fmax(top, std::fabs(group[k * kSide + n]));
      scales[n] = top / 127;
      for (int64_t k = 0; k < kGroup; ++k)
        out[k * kSide + n] = static_cast<int8_t>(top > 0 ? std::nearbyint(group[k * kSide + n] / scales[n]) : 0);
    }
    std::memcpy(to, scales, sizeof(scales));
  }
  static const float* unpack(const char* from, int64_t groups, float* to) {
    for (int64_t g = 0; g < groups; ++g, from += kBytes) {
      const Floats scales = load(reinterpret_cast<const float*>(from), lanes(kSide));
      const auto* in = reinterpret_cast<const int8_t*>(from + kSide * sizeof(float));
      float* out = to + g * kNumbers;
      for (int64_t i = 0; i < kNumbers; i += kSide) store(out + i, mul(scales, from_int8(in + i)));
    }
    return to;
  }
};

// Packs w [gates · units, inputs]: column `gates` b + g holds outputs 16 b … 16 b + 15 of gate g; missing ones are zeros.
template <class W>
void pack(const float* w, int64_t gates, int64_t units, int64_t inputs, char* to) {
  for (int64_t b = 0; b * kSide < units; ++b)
    for (int64_t g = 0; g < gates; ++g)
      for (int64_t first = 0; first < inputs; first += kGroup, to += W::kBytes) {
        float group[kNumbers] = {0};
        for (int64_t n = 0; n < kSide && b * kSide + n < units; ++n)
          for (int64_t k = 0; k < kGroup && first + k < inputs; ++k)
            group[k * kSide + n] = w[(g * units + b * kSide + n) * inputs + first + k];
        W::pack(group, to);
      }
}

}  // namespace
