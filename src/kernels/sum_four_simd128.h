// Horizontal sums for the integer products of both WebAssembly builds.
#pragma once

#include <wasm_simd128.h>

namespace bitmar {
namespace {

// The sums of four registers' lanes, in order.
inline v128_t sum_four(const v128_t* v) {
  const v128_t ab =
      wasm_i32x4_add(wasm_i32x4_shuffle(v[0], v[1], 0, 4, 1, 5), wasm_i32x4_shuffle(v[0], v[1], 2, 6, 3, 7));
  const v128_t cd =
      wasm_i32x4_add(wasm_i32x4_shuffle(v[2], v[3], 0, 4, 1, 5), wasm_i32x4_shuffle(v[2], v[3], 2, 6, 3, 7));
  return wasm_i32x4_add(wasm_i32x4_shuffle(ab, cd, 0, 1, 4, 5), wasm_i32x4_shuffle(ab, cd, 2, 3, 6, 7));
}

}  // namespace
}  // namespace bitmar
