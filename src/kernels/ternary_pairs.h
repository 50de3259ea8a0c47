// Ternary product for instruction sets that multiply unsigned 7-bit codes with int8 and add neighbours
// into int16 (AVX2's maddubs, relaxed SIMD's dot): codes are {0, 1, 2}, so a pair is at most 508 and 64
// of them fit; the row's sum is taken away once. `Ops` names the instructions.
#pragma once

#include <algorithm>
#include <cstring>

#include "kernels/kernels.h"

namespace bitmar {
namespace {

// x as rows of whole blocks: the caller's own rows where they are, else a zero-padded copy.
inline const std::int8_t* pad_rows(const PackedTernary& w, const std::int8_t* x, int m, std::int8_t* to) {
  const int cols = w.cols(), padded = w.padded_cols();
  if (cols == padded) return x;
  for (int i = 0; i < m; ++i) {
    std::memcpy(to + i * padded, x + i * cols, cols);
    std::memset(to + i * padded + cols, 0, padded - cols);
  }
  return to;
}

inline std::int32_t sum_row(const std::int8_t* x, int n) {
  std::int32_t sum = 0;
  for (int i = 0; i < n; ++i) sum += x[i];
  return sum;
}

// y for `Rows` rows of x and one row of weights at a time.
template <class Ops, int Rows>
inline void pairs_tile(const PackedTernary& w, const std::int8_t* x, std::int32_t* y) {
  constexpr int kChunks = PackedTernary::kBlockBytes / Ops::kBytes;  // registers a block
  constexpr int kFlush = 64 / (4 * kChunks);                         // blocks until an int16 may be full
  const int padded = w.padded_cols(), cols = w.cols(), n = w.rows();
  std::int32_t sums[Rows];
  for (int r = 0; r < Rows; ++r) sums[r] = sum_row(x + r * padded, cols);
  for (int row = 0; row < n; ++row) {
    const std::uint8_t* packed = w.row(row);
    typename Ops::Wide total[Rows];
    for (auto& t : total) t = Ops::zero();
    for (int block = 0; block < w.blocks();) {
      const int until = std::min(block + kFlush, w.blocks());
      typename Ops::Wide part[Rows];
      for (auto& p : part) p = Ops::zero();
      for (; block < until; ++block) {
        const std::int8_t* at = x + block * PackedTernary::kBlock;
        for (int chunk = 0; chunk < kChunks; ++chunk) {
          const auto bytes = Ops::load(packed + block * PackedTernary::kBlockBytes + chunk * Ops::kBytes);
          const auto plane = [&](auto codes, int p) {
            for (int r = 0; r < Rows; ++r) {
              const auto values = Ops::load(at + r * padded + p * PackedTernary::kBlockBytes + chunk * Ops::kBytes);
              part[r] = Ops::add16(part[r], Ops::pairs(codes, values));
            }
          };
          plane(Ops::template codes<0>(bytes), 0);
          plane(Ops::template codes<1>(bytes), 1);
          plane(Ops::template codes<2>(bytes), 2);
          plane(Ops::template codes<3>(bytes), 3);
        }
      }
      for (int r = 0; r < Rows; ++r) total[r] = Ops::add32(total[r], Ops::widen(part[r]));
    }
    for (int r = 0; r < Rows; ++r) y[r * n + row] = Ops::sum(total[r]) - sums[r];
  }
}

template <class Ops>
inline void pairs_gemm(const PackedTernary& w, const std::int8_t* x, int m, std::int32_t* y, void* scratch) {
  x = pad_rows(w, x, m, static_cast<std::int8_t*>(scratch));
  const int padded = w.padded_cols(), n = w.rows();
  int i = 0;
  for (; i + 4 <= m; i += 4) pairs_tile<Ops, 4>(w, x + i * padded, y + i * n);
  for (; i < m; ++i) pairs_tile<Ops, 1>(w, x + i * padded, y + i * n);
}

}  // namespace
}  // namespace bitmar
