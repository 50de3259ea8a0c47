// WebAssembly simd128. One row of x is multiplied by looking up partial sums in tables. Several rows are multiplied by
// weights widened to int16, two rows of weights at once.
#include "kernels/tables.h"

#if defined(__wasm_simd128__)

#include <wasm_simd128.h>

#include "kernels/int8_rows.h"
#include "kernels/sum_four_simd128.h"
#include "kernels/ternary_lookup_simd128.h"
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

// Two rows of weights share an int16: the value of an even row plus 2^14 times that of the odd row after it.
// i32x4.dot_i16x8 then sums both at once, and as long as the even row's sum fits into 14 bits, which is
// for 64 columns, the two can be told apart.
struct RowPairs {
  using X = std::int16_t;
  using Wide = v128_t;
  using Part = Wide;
  struct Sums {
    v128_t even, odd;
  };
  static constexpr int kCode = 0, kRegisters = 2, kSteps = 32, kRows = 4, kTiles = 1;
  static constexpr int kShift = 14, kOffset = 1 << (kShift - 1);  // keeps the even sum positive

  static Wide load(const void* p) { return wasm_v128_load(p); }
  static Wide splat(const std::int16_t* x) { return wasm_v128_load32_splat(x); }
  static Wide start() { return wasm_i32x4_const_splat(kOffset); }
  static Wide step(Wide part, Wide w, Wide x) { return wasm_i32x4_add(part, wasm_i32x4_dot_i16x8(w, x)); }
  static Sums sums(std::int32_t) { return {wasm_i32x4_const_splat(0), wasm_i32x4_const_splat(0)}; }
  static void flush(Sums& sums, Wide part) {
    const v128_t even = wasm_v128_and(part, wasm_i32x4_const_splat((1 << kShift) - 1));
    sums.even = wasm_i32x4_add(sums.even, wasm_i32x4_sub(even, wasm_i32x4_const_splat(kOffset)));
    sums.odd = wasm_i32x4_add(sums.odd, wasm_i32x4_shr(part, kShift));
  }
  static void store(const Sums& sums, std::int32_t* y) {
    wasm_v128_store(y, wasm_i32x4_shuffle(sums.even, sums.odd, 0, 4, 1, 5));
    wasm_v128_store(y + 4, wasm_i32x4_shuffle(sums.even, sums.odd, 2, 6, 3, 7));
  }

  // Four pairs of rows of two columns; `bytes` has them in the bits from 2 * plane on of each byte.
  static v128_t pairs(v128_t bytes, int plane) {
    const v128_t even = wasm_v128_and(wasm_u16x8_shr(bytes, 2 * plane), wasm_i16x8_const_splat(3));
    const v128_t odd = wasm_v128_and(wasm_i16x8_shl(bytes, 6 - 2 * plane),
                                     wasm_i16x8_const_splat(static_cast<std::int16_t>(3u << kShift)));
    // From codes to values, modulo 2^16 in the upper two bits.
    return wasm_i16x8_sub(wasm_v128_or(even, odd), wasm_i16x8_const_splat((1 << kShift) + 1));
  }
  static void unpack(const std::uint8_t* tile, std::uint8_t* to, int stride) {
    v128_t bytes[4];  // a step's columns side by side
    for (int i = 0; i < 4; i += 2, tile += 2 * PackedTernary::kTile) {
      const v128_t a = wasm_v128_load(tile), b = wasm_v128_load(tile + PackedTernary::kTile);
      bytes[i] = wasm_i16x8_shuffle(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
      bytes[i + 1] = wasm_i16x8_shuffle(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
    }
    for (int plane = 0; plane < 4; ++plane) {
      for (int i = 0; i < 4; i += 2, to += stride) {
        wasm_v128_store(to, pairs(bytes[i], plane));
        wasm_v128_store(to + 16, pairs(bytes[i + 1], plane));
      }
    }
  }
};

struct Swizzle {
  static v128_t run(v128_t table, v128_t at) { return wasm_i8x16_swizzle(table, at); }
};

void ternary_gemm(const PackedTernary& w, const std::int8_t* x, int m, std::int32_t* y, void* scratch) {
  constexpr int kFew = 2, kLeast = 2;  // widening pays from three rows on, and never for one
  ternary_product<RowPairs, kFew, kLeast>(w, x, m, y, scratch, ternary_lookup<Swizzle>);
}

}  // namespace

const Kernels* simd128_kernels() {
  static constexpr Kernels table =
      vector_kernels("simd128", PackedTernary::Order::groups, ternary_gemm, int8_rows_gemm<Int8>);
  return &table;
}

}  // namespace bitmar

#else

namespace bitmar {
const Kernels* simd128_kernels() { return nullptr; }
}  // namespace bitmar

#endif
