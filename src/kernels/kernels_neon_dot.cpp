// NEON with dot products of bytes (Armv8.2 and later), chosen at run time; this file alone is compiled for them.
#include "kernels/tables.h"

#if defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD)

#if defined(__linux__)
#include <sys/auxv.h>
#endif

#include "kernels/int8_rows.h"
#include "kernels/neon_codes.h"
#include "kernels/ternary_dots.h"
#include "kernels/winograd.h"

namespace bitmar {
namespace {

// sdot adds four products of signed bytes to an int32: nothing ever fills up.
struct Dots : NeonCodes {
  using Part = int32x4_t;
  static constexpr int kSteps = 1 << 24, kRows = 4, kTiles = 1;
  static constexpr int kDotTiles = 1, kChains = 4, kWinogradRows = 4;
  static constexpr int kFlush = 1 << 15;  // each adds at most 4 * 127 * (2 << 4)
  // The last column's codes would take the sign of the byte, so they are shifted at once.
  template <int Plane>
  static Wide dot_codes(Wide bytes) {
    if constexpr (Plane == 3) return codes<3>(bytes);
    return vandq_s8(bytes, vdupq_n_s8(3 << 2 * (Plane % 3)));
  }
  template <int Plane>
  static void dot_flush(Sums& sums, Part part) {
    if constexpr (Plane == 1 || Plane == 2) part = vshrq_n_s32(part, 2 * Plane);
    flush(sums, part);
  }
  static void unpack(const std::uint8_t* tile, std::uint8_t* to, int stride) { unpack_planes<Dots>(tile, to, stride); }
  static Part start() { return vdupq_n_s32(0); }
  static Part step(Part part, Wide codes, Wide x) { return vdotq_s32(part, codes, x); }
  static void flush(Sums& sums, Part part) { sums = vaddq_s32(sums, part); }
};

struct Int8 : NeonBytes {
  static Bytes widen(Bytes v) { return v; }
  static Sums multiply_add(Sums total, Bytes a, Bytes b) { return vdotq_s32(total, a, b); }
};

bool processor_has_dot_products() {
#if defined(__linux__)
  return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#elif defined(__APPLE__)
  return true;  // all that run macOS
#else
  return false;
#endif
}

}  // namespace

const Kernels* neon_dot_kernels() {
  if (!processor_has_dot_products()) return nullptr;
  // Everything but the integer products is NEON's.
  static const Kernels table = [] {
    Kernels t = *neon_kernels();
    t.name = "neon_dot";
    t.ternary_gemm = dots_gemm<Dots>;
    t.int8_gemm = int8_rows_gemm<Int8>;
    t.winograd_input = winograd_input<Dots>;
    t.winograd_gemm = WinogradTiles<Dots>::run;
    return t;
  }();
  return &table;
}

}  // namespace bitmar

#else

namespace bitmar {
const Kernels* neon_dot_kernels() { return nullptr; }
}  // namespace bitmar

#endif
