// Ternary product for instruction sets that multiply unsigned 7-bit codes with int8 and add neighbours
// into int16 (AVX2's maddubs, relaxed SIMD's dot): codes are {0, 1, 2}, so a pair is at most 508 and 64
// of them fit; the row's sum is taken away once. `Ops` names the instructions.
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>

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

// y for `Rows` rows of x, four rows of weights at a time (their number is a multiple of four).
template <class Ops, int Rows>
inline void pairs_tile(const PackedTernary& w, const std::int8_t* x, std::int32_t* y) {
  constexpr int kColumns = 4;
  constexpr int kRegisters = PackedTernary::kBlock / Ops::kBytes;  // of codes, a block
  constexpr int kFlush = 64 / kRegisters;                          // blocks until an int16 may be full
  const int padded = w.padded_cols(), n = w.rows();
  std::int32_t sums[Rows];
  for (int r = 0; r < Rows; ++r) sums[r] = sum_row(x + r * padded, w.cols());
  for (int row = 0; row < n; row += kColumns) {
    const std::uint8_t* packed[kColumns];
    for (int c = 0; c < kColumns; ++c) packed[c] = w.row(row + c);
    typename Ops::Wide total[Rows][kColumns];
    for (auto& line : total) std::fill_n(line, kColumns, Ops::zero());
    for (int block = 0; block < w.blocks();) {
      const int until = std::min(block + kFlush, w.blocks());
      typename Ops::Wide part[Rows][kColumns];
      for (auto& line : part) std::fill_n(line, kColumns, Ops::zero());
      for (; block < until; ++block) {
        typename Ops::Wide bytes[kColumns];
        for (int c = 0; c < kColumns; ++c) bytes[c] = Ops::load_block(packed[c] + block * PackedTernary::kBlockBytes);
        const auto step = [&]<int Index>(std::integral_constant<int, Index>) {
          if constexpr (Index < kRegisters) {
            typename Ops::Wide values[Rows];
            for (int r = 0; r < Rows; ++r) {
              values[r] = Ops::load(x + r * padded + block * PackedTernary::kBlock + Index * Ops::kBytes);
            }
            for (int c = 0; c < kColumns; ++c) {
              const auto codes = Ops::template codes<Index>(bytes[c]);
              for (int r = 0; r < Rows; ++r) part[r][c] = Ops::add16(part[r][c], Ops::pairs(codes, values[r]));
            }
          }
        };
        step(std::integral_constant<int, 0>{});
        step(std::integral_constant<int, 1>{});
        step(std::integral_constant<int, 2>{});
        step(std::integral_constant<int, 3>{});
      }
      for (int r = 0; r < Rows; ++r) {
        for (int c = 0; c < kColumns; ++c) total[r][c] = Ops::add32(total[r][c], Ops::widen(part[r][c]));
      }
    }
    for (int r = 0; r < Rows; ++r) Ops::store_sums(total[r], sums[r], y + r * n + row);
  }
}

template <class Ops>
inline void pairs_gemm(const PackedTernary& w, const std::int8_t* x, int m, std::int32_t* y, void* scratch) {
  x = pad_rows(w, x, m, static_cast<std::int8_t*>(scratch));
  const int padded = w.padded_cols(), n = w.rows();
  int i = 0;
  for (; i + 2 <= m; i += 2) pairs_tile<Ops, 2>(w, x + i * padded, y + i * n);
  if (i < m) pairs_tile<Ops, 1>(w, x + i * padded, y + i * n);
}

}  // namespace
}  // namespace bitmar
