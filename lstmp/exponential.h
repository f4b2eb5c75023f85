// The exponential function of float32 numbers, written so that compilers vectorize it.
#pragma once
#include <cstdint>
#include <cstring>

namespace {

// eˣ for |x| < 80, and e^±80 beyond: 2ⁿ times a Taylor series on |r| < ln 2 / 2, with a relative error below 2e-7
inline float exp_(float x) {
  x = x > 80.0f ? 80.0f : x;
  x = x < -80.0f ? -80.0f : x;
  const float rounder = 12582912.0f;  // 1.5 · 2²³: adding it rounds to a whole number
  const float n = (x * 1.44269504f + rounder) - rounder;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts; the first is exact
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, 4);
  return p * power;
}

}  // namespace
