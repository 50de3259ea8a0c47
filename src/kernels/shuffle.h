// Lanes of two vectors in another order. In an anonymous namespace, as vector_float.h is.
#pragma once

#include <type_traits>
#include <utility>

namespace bitmar {
namespace {

// The lanes `I` of a and b side by side: __builtin_shufflevector, which GCC has since version 12.
template <int... I, class Vector>
inline auto shuffle(const Vector& a, const Vector& b) {
#if defined(__has_builtin) && __has_builtin(__builtin_shufflevector)
  return __builtin_shufflevector(a, b, I...);
#else
  using Lane = std::remove_cvref_t<decltype(a[0])>;
  constexpr int kLanes = sizeof(Vector) / sizeof(Lane);
  typedef Lane Shuffled __attribute__((vector_size(sizeof(Lane) * sizeof...(I))));
  return Shuffled{(I < kLanes ? a[I % kLanes] : b[I % kLanes])...};
#endif
}

}  // namespace
}  // namespace bitmar
