// int8 x int8 products for instruction sets that multiply int16 pairs into int32. `Ops` names them.
#pragma once

#include "kernels/kernels.h"

namespace bitmar {
namespace {

template <class Ops>
inline void int8_rows_gemm(const std::int8_t* w, const std::int8_t* x, int m, int n, int k, std::int32_t* y) {
  constexpr int kStep = 16;
  const int whole = k / kStep * kStep, rest = k - whole;
  // The tail is read as the last sixteen elements, with those already counted masked out of x.
  alignas(16) std::int8_t mask[kStep];
  for (int i = 0; i < kStep; ++i) mask[i] = i >= kStep - rest ? -1 : 0;
  const auto keep = Ops::load(mask);
  for (int i = 0; i < m; ++i) {
    const std::int8_t* a = x + static_cast<std::ptrdiff_t>(i) * k;
    for (int row = 0; row < n; ++row) {
      const std::int8_t* b = w + static_cast<std::ptrdiff_t>(row) * k;
      auto total = Ops::zero();
      for (int c = 0; c < whole; c += kStep) total = Ops::multiply_add(total, Ops::load(a + c), Ops::load(b + c));
      std::int32_t sum = 0;
      if (rest && whole) {
        total = Ops::multiply_add(total, Ops::both(Ops::load(a + k - kStep), keep), Ops::load(b + k - kStep));
      } else {
        for (int c = whole; c < k; ++c) sum += a[c] * b[c];
      }
      y[i * n + row] = sum + Ops::sum(total);
    }
  }
}

}  // namespace
}  // namespace bitmar
