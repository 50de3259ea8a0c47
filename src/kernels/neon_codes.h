// Registers of NEON, and the ternary codes in them: what its two tables share. `Ops` of ternary_dots.h begin with it.
#pragma once

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

namespace bitmar {
namespace {

struct NeonCodes {
  using X = std::int8_t;
  using Wide = int8x16_t;
  using Sums = int32x4_t;
  static constexpr int kCode = 1, kRegisters = 4;
  static Wide load(const void* p) { return vld1q_s8(static_cast<const std::int8_t*>(p)); }
  static void save(Wide v, void* p) { vst1q_s8(static_cast<std::int8_t*>(p), v); }
  static Wide splat(const std::int8_t* x) {
    std::int32_t four;
    std::memcpy(&four, x, sizeof four);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
  }
  template <int Plane>
  static Wide codes(Wide bytes) {
    uint8x16_t v = vreinterpretq_u8_s8(bytes);
    if constexpr (Plane > 0) v = vshrq_n_u8(v, 2 * Plane);
    return vreinterpretq_s8_u8(vandq_u8(v, vdupq_n_u8(3)));
  }
  static Sums sums(std::int32_t less) { return vdupq_n_s32(-less); }
  static void store(Sums sums, std::int32_t* y) { vst1q_s32(y, sums); }
};

struct NeonBytes {
  using Bytes = int8x16_t;
  using Sums = int32x4_t;
  static Sums zero() { return vdupq_n_s32(0); }
  static Bytes load(const std::int8_t* p) { return vld1q_s8(p); }
  static Bytes both(Bytes a, Bytes b) { return vandq_s8(a, b); }
  static void store_sums(const Sums* v, std::int32_t* y) {
    vst1q_s32(y, vpaddq_s32(vpaddq_s32(v[0], v[1]), vpaddq_s32(v[2], v[3])));
  }
  static std::int32_t sum(Sums v) { return vaddvq_s32(v); }
};

}  // namespace
}  // namespace bitmar
