// Arm's Advanced SIMD (NEON), which every 64-bit Arm processor has.
#include "kernels/tables.h"

#if defined(__aarch64__)

#include "kernels/int8_rows.h"
#include "kernels/neon_codes.h"
#include "kernels/ternary_dots.h"
#include "kernels/vector_float.h"

namespace bitmar {
namespace {

// Every lane sums one column of one row in int16. Codes are {0, 1, 2}, so a product is at most 254, and 128 of them
// fit.
struct Dots : NeonCodes {
  struct Part {
    int16x8_t low, high;
  };
  static constexpr int kSteps = 128, kRows = 2, kTiles = 1;
  static constexpr int kDotTiles = 1, kChains = 1, kFlush = kSteps / 4;
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
  // Each row has four lanes of a part.
  static void flush(Sums& sums, const Part& part) {
    sums = vaddq_s32(sums, vpaddq_s32(vpaddlq_s16(part.low), vpaddlq_s16(part.high)));
  }
};

struct Int8 : NeonBytes {
  struct Wide {
    int16x8_t low, high;
  };
  static Wide widen(Bytes v) { return {vmovl_s8(vget_low_s8(v)), vmovl_high_s8(v)}; }
  static Sums multiply_add(Sums total, const Wide& a, const Wide& b) {
    total = vmlal_high_s16(vmlal_s16(total, vget_low_s16(a.low), vget_low_s16(b.low)), a.low, b.low);
    return vmlal_high_s16(vmlal_s16(total, vget_low_s16(a.high), vget_low_s16(b.high)), a.high, b.high);
  }
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
