// WebAssembly relaxed SIMD: a swizzle without a check of its indices, which a look-up in tables is made of.
// Dot products of bytes are slower: i16x8.relaxed_dot_i8x16_i7x16 for one row of x than the look-up and for
// several not faster than simd128's pairs of rows; and node 20's baseline compiler gets the i32x4 form wrong.
#include "kernels/tables.h"

#if defined(__wasm_relaxed_simd__)

#include <wasm_simd128.h>

#include "kernels/ternary_lookup_simd128.h"

namespace bitmar {
namespace {

struct Swizzle {
  static v128_t run(v128_t table, v128_t at) { return wasm_i8x16_relaxed_swizzle(table, at); }
};

void ternary_gemm(const PackedTernary& w, const std::int8_t* x, int m, std::int32_t* y, void* scratch) {
  if (m > 3) return simd128_kernels()->ternary_gemm(w, x, m, y, scratch);
  for (int i = 0; i < m; ++i) {
    ternary_lookup<Swizzle>(w, x + i * w.cols(), y + i * w.rows(), static_cast<std::byte*>(scratch));
  }
}

}  // namespace

const Kernels* relaxed_simd_kernels() {
  // Everything but the ternary product of few rows is simd128's.
  static const Kernels table = [] {
    Kernels t = *simd128_kernels();
    t.name = "relaxed_simd";
    t.ternary_gemm = ternary_gemm;
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
