// WebAssembly relaxed SIMD: i16x8.relaxed_dot_i8x16_i7x16_s is maddubs under another name. The i32x4
// form would save an addition, but node 20's baseline compiler computes it wrongly.
#include "kernels/tables.h"

#if defined(__wasm_relaxed_simd__)

#include <wasm_simd128.h>

#include "kernels/sum_four_simd128.h"
#include "kernels/ternary_pairs.h"

namespace bitmar {
namespace {

struct Pairs {
  static constexpr int kBytes = 16;
  using Wide = v128_t;
  static Wide zero() { return wasm_i32x4_splat(0); }
  static Wide load(const void* p) { return wasm_v128_load(p); }
  static Wide load_block(const std::uint8_t* p) { return wasm_v128_load(p); }
  template <int Plane>
  static Wide codes(Wide bytes) {
    return wasm_v128_and(wasm_u16x8_shr(bytes, 2 * Plane), wasm_i8x16_splat(3));
  }
  // The second operand is the 7-bit one.
  static Wide pairs(Wide codes, Wide values) { return wasm_i16x8_relaxed_dot_i8x16_i7x16(values, codes); }
  static Wide add16(Wide a, Wide b) { return wasm_i16x8_add(a, b); }
  static Wide add32(Wide a, Wide b) { return wasm_i32x4_add(a, b); }
  static Wide widen(Wide v) { return wasm_i32x4_extadd_pairwise_i16x8(v); }
  static void store_sums(const Wide* v, std::int32_t less, std::int32_t* y) {
    wasm_v128_store(y, wasm_i32x4_sub(sum_four(v), wasm_i32x4_splat(less)));
  }
};

}  // namespace

const Kernels* relaxed_simd_kernels() {
  // Everything but the ternary product is simd128's.
  static const Kernels table = [] {
    Kernels t = *simd128_kernels();
    t.name = "relaxed_simd";
    t.ternary_gemm = pairs_gemm<Pairs>;
    return t;
  }();
  return &table;
}

}  // namespace bitmar

#else

namespace bitmar {
const Kernels* relaxed_simd_kernels() { return nullptr; }
}  // namespace bitmar

#endif
