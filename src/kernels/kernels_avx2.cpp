// AVX2, chosen at run time; this file alone is compiled with -mavx2.
#include "kernels/tables.h"

#if defined(__AVX2__)

#include <immintrin.h>

#include "kernels/int8_rows.h"
#include "kernels/ternary_pairs.h"
#include "kernels/vector_float.h"

namespace bitmar {
namespace {

// The sums of four registers' lanes, in order.
inline __m128i sum_four(const __m256i* v) {
  const __m256i s = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
  return _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
}

struct Pairs {
  static constexpr int kBytes = 32;
  using Wide = __m256i;
  static Wide zero() { return _mm256_setzero_si256(); }
  static Wide load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  // A block's 16 bytes in both halves: each half is then shifted to a plane of its own.
  static Wide load_block(const std::uint8_t* p) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  template <int Index>
  static Wide codes(Wide bytes) {
    constexpr int kLow = 4 * Index, kHigh = kLow + 2;
    const Wide shift = _mm256_setr_epi32(kLow, kLow, kLow, kLow, kHigh, kHigh, kHigh, kHigh);
    return _mm256_and_si256(_mm256_srlv_epi32(bytes, shift), _mm256_set1_epi8(3));
  }
  static Wide pairs(Wide codes, Wide values) { return _mm256_maddubs_epi16(codes, values); }
  static Wide add16(Wide a, Wide b) { return _mm256_add_epi16(a, b); }
  static Wide add32(Wide a, Wide b) { return _mm256_add_epi32(a, b); }
  static Wide widen(Wide v) { return _mm256_madd_epi16(v, _mm256_set1_epi16(1)); }
  static void store_sums(const Wide* v, std::int32_t less, std::int32_t* y) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y), _mm_sub_epi32(sum_four(v), _mm_set1_epi32(less)));
  }
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
  static constexpr Kernels table = vector_kernels("avx2", pairs_gemm<Pairs>, int8_rows_gemm<Int8>);
  return __builtin_cpu_supports("avx2") ? &table : nullptr;
}

}  // namespace bitmar

#else

namespace bitmar {
const Kernels* avx2_kernels() { return nullptr; }
}  // namespace bitmar

#endif
