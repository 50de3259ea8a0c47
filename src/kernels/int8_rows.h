// int8 x int8 products for instruction sets that multiply int16 pairs into int32. `Ops` names them.
#pragma once

#include <cstddef>

#include "kernels/kernels.h"

namespace bitmar {
namespace {

constexpr int kInt8Step = 16;

// y [Columns]: one row of x by `Columns` rows of w.
template <class Ops, int Columns>
inline void int8_tile(const std::int8_t* w, const std::int8_t* x, int k, typename Ops::Bytes keep, std::int32_t* y) {
  const int whole = k / kInt8Step * kInt8Step;
  typename Ops::Sums total[Columns];
  for (auto& t : total) t = Ops::zero();
  for (int at = 0; at < whole; at += kInt8Step) {
    const auto a = Ops::widen(Ops::load(x + at));
    for (int c = 0; c < Columns; ++c) total[c] = Ops::multiply_add(total[c], a, Ops::widen(Ops::load(w + c * k + at)));
  }
  std::int32_t rest[Columns] = {};
  if (whole == 0) {
    for (int c = 0; c < Columns; ++c) {
      for (int i = 0; i < k; ++i) rest[c] += x[i] * w[c * k + i];
    }
  } else if (whole < k) {
    // The tail is read as the last sixteen elements, those already counted masked out of x.
    const int at = k - kInt8Step;
    const auto a = Ops::widen(Ops::both(Ops::load(x + at), keep));
    for (int c = 0; c < Columns; ++c) total[c] = Ops::multiply_add(total[c], a, Ops::widen(Ops::load(w + c * k + at)));
  }
  if constexpr (Columns == 4) {
    Ops::store_sums(total, y);
  } else {
    for (int c = 0; c < Columns; ++c) y[c] = Ops::sum(total[c]);
  }
  for (int c = 0; c < Columns; ++c) y[c] += rest[c];
}

template <class Ops>
inline void int8_rows_gemm(const std::int8_t* w, const std::int8_t* x, int m, int n, int k, std::int32_t* y) {
  std::int8_t mask[kInt8Step];
  for (int i = 0; i < kInt8Step; ++i) mask[i] = i >= kInt8Step - k % kInt8Step ? -1 : 0;
  const auto keep = Ops::load(mask);
  for (int i = 0; i < m; ++i, x += k, y += n) {
    int row = 0;
    for (; row + 4 <= n; row += 4) int8_tile<Ops, 4>(w + static_cast<std::ptrdiff_t>(row) * k, x, k, keep, y + row);
    for (; row < n; ++row) int8_tile<Ops, 1>(w + static_cast<std::ptrdiff_t>(row) * k, x, k, keep, y + row);
  }
}

}  // namespace
}  // namespace bitmar
