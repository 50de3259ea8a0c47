// AVX-512 with VNNI, chosen at run time; this file alone is compiled with -mavx512bw -mavx512vnni.
#include "kernels/tables.h"

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)

#include <immintrin.h>

#include "kernels/ternary_dots.h"
#include "kernels/winograd.h"

namespace bitmar {
namespace {

// dpbusd adds four products of an unsigned and a signed byte to an int32: nothing ever fills up.
struct Dots {
  using X = std::int8_t;
  using Wide = __m512i;
  using Part = Wide;
  using Sums = __m512i;
  static constexpr int kCode = 1, kRegisters = 1, kSteps = 1 << 24, kRows = 8, kTiles = 2;
  static constexpr int kDotTiles = 4, kChains = 4, kWinogradRows = 8;
  static constexpr int kFlush = 1 << 15;  // each adds at most 4 * 127 * (2 << 6)
  static Wide load(const void* p) { return _mm512_loadu_si512(p); }
  static void save(Wide v, void* p) { _mm512_storeu_si512(p, v); }
  static Wide splat(const std::int8_t* x) {
    std::int32_t four;
    std::memcpy(&four, x, sizeof four);
    return _mm512_set1_epi32(four);
  }
  template <int Plane>
  static Wide codes(Wide bytes) {
    return _mm512_and_si512(_mm512_srli_epi16(bytes, 2 * Plane), _mm512_set1_epi8(3));
  }
  template <int Plane>
  static Wide dot_codes(Wide bytes) {
    return _mm512_and_si512(bytes, _mm512_set1_epi8(static_cast<char>(3 << 2 * Plane)));
  }
  template <int Plane>
  static void dot_flush(Sums& sums, Wide part) {
    flush(sums, _mm512_srai_epi32(part, 2 * Plane));
  }
  static void unpack(const std::uint8_t* tile, std::uint8_t* to, int stride) { unpack_planes<Dots>(tile, to, stride); }
  static Wide start() { return _mm512_setzero_si512(); }
  static Wide step(Wide part, Wide codes, Wide x) { return _mm512_dpbusd_epi32(part, codes, x); }
  static Sums sums(std::int32_t less) { return _mm512_set1_epi32(-less); }
  static void flush(Sums& sums, Wide part) { sums = _mm512_add_epi32(sums, part); }
  static void store(Sums sums, std::int32_t* y) { save(sums, y); }
};

}  // namespace

const Kernels* avx512_kernels() {
  if (!__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vnni")) return nullptr;
  // Everything but the ternary product is AVX2's.
  static const Kernels table = [] {
    Kernels t = *avx2_kernels();
    t.name = "avx512_vnni";
    t.ternary_gemm = dots_gemm<Dots>;
    t.winograd_input = winograd_input<Dots>;
    t.winograd_gemm = WinogradTiles<Dots>::run;
    return t;
  }();
  return &table;
}

}  // namespace bitmar

#else

namespace bitmar {
const Kernels* avx512_kernels() { return nullptr; }
}  // namespace bitmar

#endif
