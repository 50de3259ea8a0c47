// Arm's Advanced SIMD (NEON), which every 64-bit Arm processor has.
#include "kernels/tables.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#include "kernels/int8_rows.h"
#include "kernels/ternary_dots.h"
#include "kernels/vector_float.h"

namespace bitmar {
namespace {

// Every lane sums one column of one row in int16. Codes are {0, 1, 2}, so a product is at most 254, and 128 of them fit.
struct Dots {
  using X = std::int8_t;
  using Wide = int8x16_t;
  struct Part {
    int16x8_t low, high;
  };
  using Sums = int32x4_t;
  static constexpr int kCode = 1, kRegisters = 4, kSteps = 128, kRows = 2, kTiles = 1;
  static constexpr int kDotTiles = 1, kChains = 1, kFlush = kSteps / 4;
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
  template <int Plane>
  static Wide dot_codes(Wide bytes) {
    return codes<Plane>(bytes);
  }
  template <int Plane>
  static void dot_flush(Sums& sums, const Part& part) {
    flush(sums, part);
  }
  static void unpack(const std::uint8_t* tile, std::uint8_t* to, int stride) { unpack_planes<Dots>(tile, to, stride); }
  static Part start() { return {vdupq_n_s16(0), vdupq_n_s16(0)}; }
  static Part step(const Part& part, Wide codes, Wide x) {
    return {vmlal_s8(part.low, vget_low_s8(codes), vget_low_s8(x)), vmlal_high_s8(part.high, codes, x)};
  }
  static Sums sums(std::int32_t less) { return vdupq_n_s32(-less); }
  // Each row has four lanes of a part.
  static void flush(Sums& sums, const Part& part) {
    sums = vaddq_s32(sums, vpaddq_s32(vpaddlq_s16(part.low), vpaddlq_s16(part.high)));
  }
  static void store(Sums sums, std::int32_t* y) { vst1q_s32(y, sums); }
};

struct Int8 {
  using Bytes = int8x16_t;
  using Sums = int32x4_t;
  struct Wide {
    int16x8_t low, high;
  };
  static Sums zero() { return vdupq_n_s32(0); }
  static Bytes load(const std::int8_t* p) { return vld1q_s8(p); }
  static Bytes both(Bytes a, Bytes b) { return vandq_s8(a, b); }
  static Wide widen(Bytes v) { return {vmovl_s8(vget_low_s8(v)), vmovl_high_s8(v)}; }
  static Sums multiply_add(Sums total, const Wide& a, const Wide& b) {
    total = vmlal_high_s16(vmlal_s16(total, vget_low_s16(a.low), vget_low_s16(b.low)), a.low, b.low);
    return vmlal_high_s16(vmlal_s16(total, vget_low_s16(a.high), vget_low_s16(b.high)), a.high, b.high);
  }
  static void store_sums(const Sums* v, std::int32_t* y) {
    vst1q_s32(y, vpaddq_s32(vpaddq_s32(v[0], v[1]), vpaddq_s32(v[2], v[3])));
  }
  static std::int32_t sum(Sums v) { return vaddvq_s32(v); }
};

}  // namespace

const Kernels* neon_kernels() {
  static constexpr Kernels table =
      vector_kernels("neon", PackedTernary::Order::rows, dots_gemm<Dots>, int8_rows_gemm<Int8>);
  return &table;
}

}  // namespace bitmar

#else

namespace bitmar {
const Kernels* neon_kernels() { return nullptr; }
}  // namespace bitmar

#endif
