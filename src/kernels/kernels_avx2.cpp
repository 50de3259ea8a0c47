// AVX2, chosen at run time; this file alone is compiled with -mavx2.
#include "kernels/tables.h"

#if defined(__AVX2__)

#include <immintrin.h>

#include "kernels/int8_rows.h"
#include "kernels/ternary_dots.h"
#include "kernels/vector_float.h"

namespace bitmar {
namespace {

// The sums of four registers' lanes, in order.
inline __m128i sum_four(const __m256i* v) {
  const __m256i s = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
  return _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
}

// Codes are {0, 1, 2}, so a pair of products is at most 508, and 64 of them fit into int16.
struct Dots {
  using X = std::int8_t;
  using Wide = __m256i;
  using Part = Wide;
  using Sums = __m256i;
  static constexpr int kCode = 1, kRegisters = 2, kSteps = 64, kRows = 2, kTiles = 2;
  static constexpr int kDotTiles = 1, kChains = 1, kFlush = kSteps / 4;
  static Wide load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static void save(Wide v, void* p) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
  static Wide splat(const std::int8_t* x) {
    std::int32_t four;
    std::memcpy(&four, x, sizeof four);
    return _mm256_set1_epi32(four);
  }
  template <int Plane>
  static Wide codes(Wide bytes) {
    return _mm256_and_si256(_mm256_srli_epi16(bytes, 2 * Plane), _mm256_set1_epi8(3));
  }
  template <int Plane>
  static Wide dot_codes(Wide bytes) {
    return codes<Plane>(bytes);
  }
  template <int Plane>
  static void dot_flush(Sums& sums, Wide part) {
    flush(sums, part);
  }
  static void unpack(const std::uint8_t* tile, std::uint8_t* to, int stride) { unpack_planes<Dots>(tile, to, stride); }
  static Wide start() { return _mm256_setzero_si256(); }
  static Wide step(Wide part, Wide codes, Wide x) { return _mm256_add_epi16(part, _mm256_maddubs_epi16(codes, x)); }
  static Sums sums(std::int32_t less) { return _mm256_set1_epi32(-less); }
  static void flush(Sums& sums, Wide part) {
    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(part, _mm256_set1_epi16(1)));
  }
  static void store(Sums sums, std::int32_t* y) { save(sums, y); }
};

struct Int8 {
  using Bytes = __m128i;
  using Sums = __m256i;
  static Sums zero() { return _mm256_setzero_si256(); }
  static Bytes load(const std::int8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
  static Bytes both(Bytes a, Bytes b) { return _mm_and_si128(a, b); }
  static __m256i widen(Bytes v) { return _mm256_cvtepi8_epi16(v); }
  static Sums multiply_add(Sums total, __m256i a, __m256i b) {
    return _mm256_add_epi32(total, _mm256_madd_epi16(a, b));
  }
  static void store_sums(const Sums* v, std::int32_t* y) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y), sum_four(v));
  }
  static std::int32_t sum(Sums v) {
    const Sums four[4] = {v, v, v, v};
    return _mm_cvtsi128_si32(sum_four(four));
  }
};

}  // namespace

const Kernels* avx2_kernels() {
  static constexpr Kernels table =
      vector_kernels("avx2", PackedTernary::Order::rows, dots_gemm<Dots>, int8_rows_gemm<Int8>);
  return __builtin_cpu_supports("avx2") ? &table : nullptr;
}

}  // namespace bitmar

#else

namespace bitmar {
const Kernels* avx2_kernels() { return nullptr; }
}  // namespace bitmar

#endif
