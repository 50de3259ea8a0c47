// Ternary product of one row of x without a multiplication: two columns of a row of weights are a nibble,
// which selects one of their nine sums from a table of sixteen, for sixteen rows of weights in one
// swizzle. A sum has nine bits, so it is kept as a low and a high half of at most five, each a byte: a
// tile's eight pairs of columns add up without a carry, and only then are the bytes widened.
#pragma once

#include <wasm_simd128.h>

#include "kernels/ternary_tiles.h"

namespace bitmar {
namespace {

constexpr int kPairs = PackedTernary::kTile / 2;  // of columns, a tile
constexpr int kTable = 32;                        // bytes a pair: its low halves, its high halves
constexpr int kLowBits = 5;
constexpr int kOffset = 256;       // makes every sum positive: 2 * 127 at most
constexpr int kLookupTiles = 256;  // a byte's sum is at most 8 * 31, and uint16 holds 256 of them

// The tables of eight columns: four pairs, 0 and 4 to 3 and 7. `x` has them in its lower half and their
// negatives in its upper one. An entry is code a (bits 0, 1) and code b (bits 2, 3); a code of 3 is not looked up.
inline void fill_four(v128_t x, std::uint8_t* tables) {
  const v128_t of_a = wasm_i8x16_const(8, -1, 0, -1, 8, -1, 0, -1, 8, -1, 0, -1, 8, -1, 0, -1);
  const v128_t of_b = wasm_i8x16_const(12, 12, 12, 12, -1, -1, -1, -1, 4, 4, 4, 4, -1, -1, -1, -1);
  for (int pair = 0; pair < 4; ++pair, tables += kTable, x = wasm_u64x2_shr(x, 8)) {
    const v128_t a = wasm_i8x16_swizzle(x, of_a), b = wasm_i8x16_swizzle(x, of_b);
    // Of nine bits the lower ones are those of the bytes' sum, the upper ones those of their mean.
    const v128_t mean =
        wasm_u8x16_avgr(wasm_v128_xor(a, wasm_i8x16_const_splat(-128)), wasm_i8x16_add(b, wasm_i8x16_const_splat(127)));
    wasm_v128_store(tables, wasm_v128_and(wasm_i8x16_add(a, b), wasm_i8x16_const_splat((1 << kLowBits) - 1)));
    wasm_v128_store(tables + kTable / 2, wasm_v128_and(wasm_u16x8_shr(mean, kLowBits - 1), wasm_i8x16_const_splat(15)));
  }
}

// Byte `group` of a row holds columns group and group + 4 in its low nibble, group + 8 and group + 12 in its high one.
inline void fill_tables(const std::int8_t* x, int padded, std::uint8_t* tables) {
  for (; padded > 0; padded -= PackedTernary::kTile, x += PackedTernary::kTile, tables += kPairs * kTable) {
    const v128_t v = wasm_v128_load(x), negative = wasm_i8x16_neg(v);
    fill_four(wasm_i64x2_shuffle(v, negative, 0, 2), tables);
    fill_four(wasm_i64x2_shuffle(v, negative, 1, 3), tables + 4 * kTable);
  }
}

// Sums of bytes as two registers: even bytes + 256 * odd bytes modulo 2^16, and odd bytes alone.
struct ByteSums {
  v128_t both = wasm_i16x8_const_splat(0), odd = wasm_i16x8_const_splat(0);
  void add(v128_t bytes) {
    both = wasm_i16x8_add(both, bytes);
    odd = wasm_i16x8_add(odd, wasm_u16x8_shr(bytes, 8));
  }
  // In order, eight and eight.
  void write(v128_t* to) const {
    const v128_t even = wasm_i16x8_sub(both, wasm_i16x8_shl(odd, 8));
    to[0] = wasm_i16x8_shuffle(even, odd, 0, 8, 1, 9, 2, 10, 3, 11);
    to[1] = wasm_i16x8_shuffle(even, odd, 4, 12, 5, 13, 6, 14, 7, 15);
  }
};

// y [16 * Down] (+)= `count` tiles of `Down` times sixteen rows of weights, `pitch` bytes apart, which share the loads
// of tables. V8 has fifteen registers for all this: the groups are a loop, because unrolled it does their loads first,
// and the function stays on its own, without its caller's variables.
template <class Swizzle, int Down>
[[gnu::noinline]] void look_up(const std::uint8_t* w, std::size_t pitch, const std::uint8_t* tables, int count,
                               bool add, std::int32_t* y) {
  const v128_t nibble = wasm_i8x16_const_splat(15);
  ByteSums sums[Down][2];
  for (int tile = 0; tile < count; ++tile, w += PackedTernary::kTileBytes, tables += kPairs * kTable) {
    v128_t low[Down], high[Down];
    for (int down = 0; down < Down; ++down) low[down] = high[down] = wasm_i8x16_const_splat(0);
#pragma clang loop unroll(disable)
    for (int group = 0; group < 4; ++group) {
      const std::uint8_t *of_a = tables + group * kTable, *of_b = of_a + 4 * kTable;
      const v128_t low_a = wasm_v128_load(of_a), high_a = wasm_v128_load(of_a + kTable / 2);
      const v128_t low_b = wasm_v128_load(of_b), high_b = wasm_v128_load(of_b + kTable / 2);
      for (int down = 0; down < Down; ++down) {
        const v128_t bytes = wasm_v128_load(w + down * pitch + group * PackedTernary::kTile);
        const v128_t a = wasm_v128_and(bytes, nibble), b = wasm_v128_and(wasm_u16x8_shr(bytes, 4), nibble);
        const v128_t l = wasm_i8x16_add(Swizzle::run(low_a, a), Swizzle::run(low_b, b));
        const v128_t h = wasm_i8x16_add(Swizzle::run(high_a, a), Swizzle::run(high_b, b));
        low[down] = wasm_i8x16_add(low[down], l);
        high[down] = wasm_i8x16_add(high[down], h);
      }
    }
    for (int down = 0; down < Down; ++down) {
      sums[down][0].add(low[down]);
      sums[down][1].add(high[down]);
    }
  }
  const v128_t offset = wasm_i32x4_splat(kOffset * kPairs * count);
  const auto store = [&](v128_t l, v128_t h, std::int32_t* to) {
    v128_t sum = wasm_i32x4_sub(wasm_i32x4_add(l, wasm_i32x4_shl(h, kLowBits)), offset);
    if (add) sum = wasm_i32x4_add(sum, wasm_v128_load(to));
    wasm_v128_store(to, sum);
  };
  for (auto& of_rows : sums) {
    v128_t low[2], high[2];
    of_rows[0].write(low);
    of_rows[1].write(high);
    for (int half = 0; half < 2; ++half, y += 8) {
      store(wasm_u32x4_extend_low_u16x8(low[half]), wasm_u32x4_extend_low_u16x8(high[half]), y);
      store(wasm_u32x4_extend_high_u16x8(low[half]), wasm_u32x4_extend_high_u16x8(high[half]), y + 4);
    }
  }
}

template <class Swizzle>
inline void ternary_lookup(const PackedTernary& w, const std::int8_t* x, std::int32_t* y, std::byte* scratch) {
  constexpr int kTile = PackedTernary::kTile, kDown = 2;
  // Called by address: what has a single caller the linker's optimiser inlines, whatever the compiler was told.
  static constexpr decltype(&look_up<Swizzle, 1>) kLookUp[kDown] = {look_up<Swizzle, 1>, look_up<Swizzle, 2>};
  auto* tables = reinterpret_cast<std::uint8_t*>(scratch);
  const int padded = w.padded_cols(), across = w.tiles_across();
  fill_tables(pad_rows(w, x, 1, reinterpret_cast<std::int8_t*>(tables + padded * kTile)), padded, tables);
  for (int down = 0, count; down < w.tiles_down(); down += count) {
    count = std::min(kDown, w.tiles_down() - down);
    const int have = std::min(kTile * count, w.rows() - down * kTile);
    std::int32_t line[kTile * kDown];
    std::int32_t* to = have == kTile * count ? y + down * kTile : line;
    for (int tile = 0; tile < across; tile += kLookupTiles) {
      kLookUp[count - 1](w.tiles(down) + tile * PackedTernary::kTileBytes, w.row_bytes(),
                         tables + tile * kPairs * kTable, std::min(kLookupTiles, across - tile), tile > 0, to);
    }
    if (to == line) std::copy_n(line, have, y + down * kTile);
  }
}

}  // namespace
}  // namespace bitmar
