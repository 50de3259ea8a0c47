// Weighted means of pixels on vectors: four lanes are a pixel, eight are bytes of a line. In an anonymous namespace for
// the same reason as vector_float.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "kernels/kernels.h"
#include "kernels/shuffle.h"

namespace bitmar {
namespace {

struct Four {
  static constexpr int kLanes = 4;
  using Sums = std::int32_t __attribute__((vector_size(16)));
  using Samples = std::uint8_t __attribute__((vector_size(4)));
};
struct Eight {
  static constexpr int kLanes = 8;
  using Sums = std::int32_t __attribute__((vector_size(32)));
  using Samples = std::uint8_t __attribute__((vector_size(8)));
};

// Written out for AVX2, where GCC would convert one lane after another.
#if defined(__AVX2__)
inline Four::Sums widen(Four::Samples v) {
  std::int32_t bytes;
  std::memcpy(&bytes, &v, sizeof bytes);
  return reinterpret_cast<Four::Sums>(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(bytes)));
}
inline Eight::Sums widen(Eight::Samples v) {
  return reinterpret_cast<Eight::Sums>(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(&v))));
}
#else
template <class Samples>
inline auto widen(Samples v) {
  using Sums = std::conditional_t<sizeof(Samples) == 4, Four::Sums, Eight::Sums>;
  return __builtin_convertvector(v, Sums);
}
#endif

template <class Lanes>
inline typename Lanes::Sums load_samples(const std::uint8_t* p, int count = Lanes::kLanes) {
  typename Lanes::Samples v{};
  std::memcpy(&v, p, count);
  return widen(v);
}

template <class Lanes>
inline void store_mean(const typename Lanes::Sums& sum, std::uint8_t* to, int count) {
  const typename Lanes::Sums mean = sum >> kWeightBits, most = typename Lanes::Sums{} + 255;
  const auto bytes = __builtin_convertvector(mean > most ? most : mean, typename Lanes::Samples);
  std::memcpy(to, &bytes, count);
}

template <int Channels>
void resample_pixels(const std::uint8_t* from, const std::int32_t* first, const std::int32_t* weights, int taps, int n,
                     std::uint8_t* to) {
  for (int i = 0; i < n; ++i, weights += taps, to += 3) {
    const std::uint8_t* pixel = from + static_cast<std::ptrdiff_t>(first[i]) * Channels;
    Four::Sums sum = Four::Sums{} + kWeightsHalf;
    for (int k = 0; k < taps - 1; ++k, pixel += Channels) sum += load_samples<Four>(pixel) * weights[k];
    // Four bytes of three channels reach beyond the last pixel, which may be that of the image: they end there instead.
    Four::Samples last{};
    if (Channels == 3 && taps > 1) {
      std::memcpy(&last, pixel - 1, 4);
      last = shuffle<1, 2, 3, 0>(last, last);
    } else {
      std::memcpy(&last, pixel, Channels);
    }
    sum += widen(last) * weights[taps - 1];
    store_mean<Four>(sum, to, 3);
  }
}

void resample_row(const std::uint8_t* from, int channels, const std::int32_t* first, const std::int32_t* weights,
                  int taps, int n, std::uint8_t* to) {
  (channels == 4 ? resample_pixels<4> : resample_pixels<3>)(from, first, weights, taps, n, to);
}

void resample_column(const std::uint8_t* from, std::ptrdiff_t pitch, const std::int32_t* weights, int taps, int n,
                     std::uint8_t* to) {
  constexpr int kLanes = Eight::kLanes;
  const auto some = [&](int count) {
    Eight::Sums sum = Eight::Sums{} + kWeightsHalf;
    for (int k = 0; k < taps; ++k) sum += load_samples<Eight>(from + k * pitch, count) * weights[k];
    store_mean<Eight>(sum, to, count);
  };
  for (; n >= kLanes; n -= kLanes, from += kLanes, to += kLanes) some(kLanes);
  if (n > 0) some(n);
}

}  // namespace
}  // namespace bitmar
