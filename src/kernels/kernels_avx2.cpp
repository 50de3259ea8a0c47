// AVX2, chosen at run time; this file alone is compiled with -mavx2.
#include "kernels/tables.h"

#if defined(__AVX2__)

#include <immintrin.h>

#include "kernels/int8_rows.h"
#include "kernels/ternary_pairs.h"
#include "kernels/vector_float.h"

namespace bitmar {
namespace {

inline std::int32_t sum_lanes(__m256i v) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

struct Pairs {
  static constexpr int kBytes = 32;
  using Wide = __m256i;
  static Wide zero() { return _mm256_setzero_si256(); }
  static Wide load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  template <int Plane>
  static Wide codes(Wide bytes) {
    return _mm256_and_si256(_mm256_srli_epi16(bytes, 2 * Plane), _mm256_set1_epi8(3));
  }
  static Wide pairs(Wide codes, Wide values) { return _mm256_maddubs_epi16(codes, values); }
  static Wide add16(Wide a, Wide b) { return _mm256_add_epi16(a, b); }
  static Wide add32(Wide a, Wide b) { return _mm256_add_epi32(a, b); }
  static Wide widen(Wide v) { return _mm256_madd_epi16(v, _mm256_set1_epi16(1)); }
  static std::int32_t sum(Wide v) { return sum_lanes(v); }
};

struct Int8 {
  static __m256i zero() { return _mm256_setzero_si256(); }
  static __m128i load(const std::int8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
  static __m128i both(__m128i a, __m128i b) { return _mm_and_si128(a, b); }
  static __m256i multiply_add(__m256i total, __m128i a, __m128i b) {
    return _mm256_add_epi32(total, _mm256_madd_epi16(_mm256_cvtepi8_epi16(a), _mm256_cvtepi8_epi16(b)));
  }
  static std::int32_t sum(__m256i v) { return sum_lanes(v); }
};

}  // namespace

const Kernels* avx2_kernels() {
  static constexpr Kernels table = vector_kernels("avx2", pairs_gemm<Pairs>, int8_rows_gemm<Int8>);
  return __builtin_cpu_supports("avx2") ? &table : nullptr;
}

}  // namespace bitmar

#else

namespace bitmar {
const Kernels* avx2_kernels() { return nullptr; }
}  // namespace bitmar

#endif
