// WebAssembly simd128: x is widened to int16 once, codes are widened as they are read, and
// i32x4.dot_i16x8 does the rest.
#include "kernels/tables.h"

#if defined(__wasm_simd128__)

#include <wasm_simd128.h>

#include "kernels/int8_rows.h"
#include "kernels/vector_float.h"

namespace bitmar {
namespace {

inline std::int32_t sum_lanes(v128_t v) {
  v = wasm_i32x4_add(v, wasm_i32x4_shuffle(v, v, 2, 3, 0, 1));
  v = wasm_i32x4_add(v, wasm_i32x4_shuffle(v, v, 1, 0, 3, 2));
  return wasm_i32x4_extract_lane(v, 0);
}

struct Int8 {
  static v128_t zero() { return wasm_i32x4_splat(0); }
  static v128_t load(const std::int8_t* p) { return wasm_v128_load(p); }
  static v128_t both(v128_t a, v128_t b) { return wasm_v128_and(a, b); }
  static v128_t multiply_add(v128_t total, v128_t a, v128_t b) {
    total = wasm_i32x4_add(total, wasm_i32x4_dot_i16x8(wasm_i16x8_extend_low_i8x16(a), wasm_i16x8_extend_low_i8x16(b)));
    return wasm_i32x4_add(total,
                          wasm_i32x4_dot_i16x8(wasm_i16x8_extend_high_i8x16(a), wasm_i16x8_extend_high_i8x16(b)));
  }
  static std::int32_t sum(v128_t v) { return sum_lanes(v); }
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

// A tile of Rows rows of x by Columns rows of weights: each widened weight meets every row of x.
template <int Rows, int Columns>
inline void tile(const PackedTernary& w, int row, const std::int16_t* x, const std::int32_t* sums, std::int32_t* y) {
  constexpr int kHalf = 16;  // bytes of a register; a block has two
  const int padded = w.padded_cols(), n = w.rows();
  v128_t total[Rows][Columns];
  for (auto& line : total) {
    for (auto& t : line) t = wasm_i32x4_splat(0);
  }
  const v128_t three = wasm_i8x16_splat(3);
  for (int block = 0; block < w.blocks(); ++block) {
    for (int half = 0; half < 2; ++half) {
      v128_t bytes[Columns];
      for (int c = 0; c < Columns; ++c) {
        bytes[c] = wasm_v128_load(w.row(row + c) + block * PackedTernary::kBlockBytes + half * kHalf);
      }
      for (int plane = 0; plane < 4; ++plane) {
        const std::int16_t* at = x + block * PackedTernary::kBlock + plane * PackedTernary::kBlockBytes + half * kHalf;
        v128_t low[Columns], high[Columns];
        for (int c = 0; c < Columns; ++c) {
          const v128_t codes = wasm_v128_and(wasm_u16x8_shr(bytes[c], 2 * plane), three);
          low[c] = wasm_u16x8_extend_low_u8x16(codes);
          high[c] = wasm_u16x8_extend_high_u8x16(codes);
        }
        for (int r = 0; r < Rows; ++r) {
          const v128_t x_low = wasm_v128_load(at + r * padded), x_high = wasm_v128_load(at + r * padded + 8);
          for (int c = 0; c < Columns; ++c) {
            total[r][c] = wasm_i32x4_add(total[r][c], wasm_i32x4_dot_i16x8(low[c], x_low));
            total[r][c] = wasm_i32x4_add(total[r][c], wasm_i32x4_dot_i16x8(high[c], x_high));
          }
        }
      }
    }
  }
  for (int r = 0; r < Rows; ++r) {
    for (int c = 0; c < Columns; ++c) y[r * n + row + c] = sum_lanes(total[r][c]) - sums[r];
  }
}

template <int Rows>
inline void rows_of(const PackedTernary& w, const std::int16_t* x, const std::int32_t* sums, std::int32_t* y) {
  constexpr int kColumns = 2;
  int row = 0;
  for (; row + kColumns <= w.rows(); row += kColumns) tile<Rows, kColumns>(w, row, x, sums, y);
  for (; row < w.rows(); ++row) tile<Rows, 1>(w, row, x, sums, y);
}

void ternary_gemm(const PackedTernary& w, const std::int8_t* x, int m, std::int32_t* y, void* scratch) {
  const int padded = w.padded_cols(), n = w.rows();
  auto* sums = static_cast<std::int32_t*>(scratch);
  auto* wide = reinterpret_cast<std::int16_t*>(sums + m);
  widen_rows(w, x, m, wide, sums);
  int i = 0;
  for (; i + 4 <= m; i += 4) rows_of<4>(w, wide + i * padded, sums + i, y + i * n);
  for (; i < m; ++i) rows_of<1>(w, wide + i * padded, sums + i, y + i * n);
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
