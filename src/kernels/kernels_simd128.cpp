// WebAssembly simd128. Few rows of x are widened to int16 once, codes are widened as they are read, and
// i32x4.dot_i16x8 does the rest; tiles of 16 rows go through tables of partial sums.
#include "kernels/tables.h"

#if defined(__wasm_simd128__)

#include <wasm_simd128.h>

#include <algorithm>

#include "kernels/int8_rows.h"
#include "kernels/sum_four_simd128.h"
#include "kernels/ternary_tables_simd128.h"
#include "kernels/vector_float.h"

namespace bitmar {
namespace {

struct Int8 {
  using Bytes = v128_t;
  using Sums = v128_t;
  struct Wide {
    v128_t low, high;
  };
  static Sums zero() { return wasm_i32x4_splat(0); }
  static Bytes load(const std::int8_t* p) { return wasm_v128_load(p); }
  static Bytes both(Bytes a, Bytes b) { return wasm_v128_and(a, b); }
  static Wide widen(Bytes v) { return {wasm_i16x8_extend_low_i8x16(v), wasm_i16x8_extend_high_i8x16(v)}; }
  static Sums multiply_add(Sums total, const Wide& a, const Wide& b) {
    total = wasm_i32x4_add(total, wasm_i32x4_dot_i16x8(a.low, b.low));
    return wasm_i32x4_add(total, wasm_i32x4_dot_i16x8(a.high, b.high));
  }
  static void store_sums(const Sums* v, std::int32_t* y) { wasm_v128_store(y, sum_four(v)); }
  static std::int32_t sum(Sums v) {
    const Sums four[4] = {v, v, v, v};
    return wasm_i32x4_extract_lane(sum_four(four), 0);
  }
};

// x [m, cols] -> wide [m, padded], zeros behind; sums [m]
void widen_rows(const PackedTernary& w, const std::int8_t* x, int m, std::int16_t* wide, std::int32_t* sums) {
  const int cols = w.cols(), padded = w.padded_cols();
  for (int i = 0; i < m; ++i) {
    std::int32_t sum = 0;
    for (int c = 0; c < cols; ++c) {
      wide[i * padded + c] = x[i * cols + c];
      sum += x[i * cols + c];
    }
    for (int c = cols; c < padded; ++c) wide[i * padded + c] = 0;
    sums[i] = sum;
  }
}

// `Rows` rows of x by four rows of weights (their number is a multiple of four).
template <int Rows>
inline void tile(const PackedTernary& w, const std::int16_t* x, const std::int32_t* sums, std::int32_t* y) {
  constexpr int kColumns = 4;
  const int padded = w.padded_cols(), n = w.rows();
  const v128_t three = wasm_i8x16_splat(3);
  for (int row = 0; row < n; row += kColumns) {
    const std::uint8_t* packed[kColumns];
    for (int c = 0; c < kColumns; ++c) packed[c] = w.row(row + c);
    v128_t total[Rows][kColumns];
    for (auto& line : total) std::fill_n(line, kColumns, wasm_i32x4_splat(0));
    for (int block = 0; block < w.blocks(); ++block) {
      for (int plane = 0; plane < 4; ++plane) {
        const std::int16_t* at = x + block * PackedTernary::kBlock + plane * PackedTernary::kBlockBytes;
        v128_t low[Rows], high[Rows];
        for (int r = 0; r < Rows; ++r)
          low[r] = wasm_v128_load(at + r * padded), high[r] = wasm_v128_load(at + r * padded + 8);
        for (int c = 0; c < kColumns; ++c) {
          const v128_t bytes = wasm_v128_load(packed[c] + block * PackedTernary::kBlockBytes);
          const v128_t codes = wasm_v128_and(wasm_u16x8_shr(bytes, 2 * plane), three);
          const v128_t codes_low = wasm_u16x8_extend_low_u8x16(codes), codes_high = wasm_u16x8_extend_high_u8x16(codes);
          for (int r = 0; r < Rows; ++r) {
            total[r][c] = wasm_i32x4_add(total[r][c], wasm_i32x4_dot_i16x8(codes_low, low[r]));
            total[r][c] = wasm_i32x4_add(total[r][c], wasm_i32x4_dot_i16x8(codes_high, high[r]));
          }
        }
      }
    }
    for (int r = 0; r < Rows; ++r) {
      wasm_v128_store(y + r * n + row, wasm_i32x4_sub(sum_four(total[r]), wasm_i32x4_splat(sums[r])));
    }
  }
}

void few_rows(const PackedTernary& w, const std::int8_t* x, int m, std::int32_t* y, void* scratch) {
  auto* sums = static_cast<std::int32_t*>(scratch);
  auto* wide = reinterpret_cast<std::int16_t*>(sums + m);
  widen_rows(w, x, m, wide, sums);
  int i = 0;
  for (; i + 2 <= m; i += 2) tile<2>(w, wide + i * w.padded_cols(), sums + i, y + i * w.rows());
  if (i < m) tile<1>(w, wide + i * w.padded_cols(), sums + i, y + i * w.rows());
}

void ternary_gemm(const PackedTernary& w, const std::int8_t* x, int m, std::int32_t* y, void* scratch) {
  // With fewer rows of weights, filling the tables costs more than they save.
  constexpr int kWorthTables = 32;
  int i = 0;
  for (; i + kTableRows <= m; i += kTableRows) {
    if (w.rows() >= kWorthTables) {
      table_tile(w, x + i * w.cols(), y + i * w.rows(), scratch);
    } else {
      few_rows(w, x + i * w.cols(), kTableRows, y + i * w.rows(), scratch);
    }
  }
  if (i < m) few_rows(w, x + i * w.cols(), m - i, y + i * w.rows(), scratch);
}

}  // namespace

const Kernels* simd128_kernels() {
  static constexpr Kernels table = vector_kernels("simd128", ternary_gemm, int8_rows_gemm<Int8>);
  return &table;
}

}  // namespace bitmar

#else

namespace bitmar {
const Kernels* simd128_kernels() { return nullptr; }
}  // namespace bitmar

#endif
