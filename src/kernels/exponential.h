// e^x from additions, multiplications and an exponent written as bits: the C library's differs between
// platforms in the last place, and a caption must not. Within 2 units in the last place of the true value
// for -87 < x < 88; 0 below, e^88 above.
#pragma once

#include <bit>
#include <cstdint>

namespace bitmar {

// Adding and taking away 1.5 * 2^23 rounds |x| < 2^22 to the nearest integer, ties to even.
inline constexpr float kRoundingShift = 12582912.0f;
// Always inlined: a copy compiled for AVX2 must not become the one that the linker keeps for all.
[[gnu::always_inline]] inline float round_to_even(float x) { return (x + kRoundingShift) - kRoundingShift; }

namespace exp_constants {
inline constexpr float kLowest = -87.0f, kHighest = 88.0f;
inline constexpr float kLog2E = 1.44269504088896341f;
// ln 2 in two parts, so that n * kLn2High is exact (Cody and Waite 1980).
inline constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
// Taylor coefficients 1/7! .. 1/2!: on |r| <= ln 2 / 2 the next term is below half a unit.
inline constexpr float kTaylor[] = {1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f};
}  // namespace exp_constants

[[gnu::always_inline]] inline float exponential(float x) {
  using namespace exp_constants;
  if (x < kLowest) return 0.0f;
  if (x > kHighest) x = kHighest;
  const float n = round_to_even(x * kLog2E);
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float p = kTaylor[0];
  for (int i = 1; i < 6; ++i) p = p * r + kTaylor[i];
  p = (p * r + 1.0f) * r + 1.0f;
  return p * std::bit_cast<float>((static_cast<std::int32_t>(n) + 127) << 23);
}

}  // namespace bitmar
