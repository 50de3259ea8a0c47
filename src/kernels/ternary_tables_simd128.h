// Ternary product for many rows of x without a multiplication (the method of the Four Russians): a byte
// of weights is four trits, so it selects one of 81 sums of four columns of x. Those sums are made once
// for 16 rows of x, as int16 side by side, and then every row of weights costs a look-up and an addition
// for 64 products.
#pragma once

#include <wasm_simd128.h>

#include <algorithm>
#include <cstring>

#include "kernels/kernels.h"
#include "kernels/ternary_tables.h"

namespace bitmar {
namespace {

constexpr int kHalf = 8;  // rows of x a register
// A sum of four columns is at most 4 * 127 (x >= -127): 64 of them fit into int16.
constexpr int kFlushGroups = 64;

// x [16, cols] -> columns [padded, 16]
inline void transpose_tile(const std::int8_t* x, int cols, int padded, std::int8_t* columns) {
  for (int c = 0; c < padded; c += kTableRows) {
    v128_t a[kTableRows], b[kTableRows];
    for (int i = 0; i < kTableRows; ++i) {
      std::int8_t bytes[kTableRows] = {};
      const int have = std::clamp(cols - c, 0, kTableRows);
      a[i] = have == kTableRows ? wasm_v128_load(x + i * cols + c)
                                : (std::memcpy(bytes, x + i * cols + c, have), wasm_v128_load(bytes));
    }
    // Four perfect shuffles of 16 x 16 bytes are a transposition.
    for (int round = 0; round < 4; ++round) {
      for (int i = 0; i < kHalf; ++i) {
        b[2 * i] = wasm_i8x16_shuffle(a[i], a[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        b[2 * i + 1] = wasm_i8x16_shuffle(a[i], a[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
      }
      std::memcpy(a, b, sizeof a);
    }
    for (int i = 0; i < kTableRows; ++i) wasm_v128_store(columns + (c + i) * kTableRows, a[i]);
  }
}

// table [171, 16]: at byte b, the sums of the four columns times the trits of b. The columns of a byte are 16 apart.
inline void fill_table(const std::int8_t* columns, std::int16_t* table) {
  for (int half = 0; half < 2; ++half, columns += kHalf, table += kHalf) {
    v128_t x[4];
    for (int p = 0; p < 4; ++p) x[p] = wasm_i16x8_load8x8(columns + p * PackedTernary::kBlockBytes * kTableRows);
    v128_t d = wasm_i16x8_neg(wasm_i16x8_add(wasm_i16x8_add(x[0], x[1]), wasm_i16x8_add(x[2], x[3])));
    for (int i = 0; i < 3; ++i, d = wasm_i16x8_add(d, x[3])) {
      v128_t c = d;
      for (int j = 0; j < 3; ++j, c = wasm_i16x8_add(c, x[2])) {
        v128_t b = c;
        for (int k = 0; k < 3; ++k, b = wasm_i16x8_add(b, x[1])) {
          const v128_t a = wasm_i16x8_add(b, x[0]);
          std::int16_t* at = table + (i << 6 | j << 4 | k << 2) * kTableRows;
          wasm_v128_store(at, b);
          wasm_v128_store(at + kTableRows, a);
          wasm_v128_store(at + 2 * kTableRows, wasm_i16x8_add(a, x[0]));
        }
      }
    }
  }
}

// y [16, rows] from (or, after the first 64 groups, plus) sums [rows, 16]; four rows of weights at a time.
inline void flush_sums(const std::int16_t* sums, int rows, bool add, std::int32_t* y) {
  for (int row = 0; row < rows; row += 4, sums += 4 * kTableRows) {
    for (int half = 0; half < kTableRows; half += kHalf) {
      v128_t v[4];
      for (int i = 0; i < 4; ++i) v[i] = wasm_v128_load(sums + i * kTableRows + half);
      const v128_t low01 = wasm_i16x8_shuffle(v[0], v[1], 0, 8, 1, 9, 2, 10, 3, 11);
      const v128_t low23 = wasm_i16x8_shuffle(v[2], v[3], 0, 8, 1, 9, 2, 10, 3, 11);
      const v128_t high01 = wasm_i16x8_shuffle(v[0], v[1], 4, 12, 5, 13, 6, 14, 7, 15);
      const v128_t high23 = wasm_i16x8_shuffle(v[2], v[3], 4, 12, 5, 13, 6, 14, 7, 15);
      const v128_t pairs[4] = {
          wasm_i32x4_shuffle(low01, low23, 0, 4, 1, 5), wasm_i32x4_shuffle(low01, low23, 2, 6, 3, 7),
          wasm_i32x4_shuffle(high01, high23, 0, 4, 1, 5), wasm_i32x4_shuffle(high01, high23, 2, 6, 3, 7)};
      for (int i = 0; i < kHalf; ++i) {
        v128_t sum = i % 2 ? wasm_i32x4_extend_high_i16x8(pairs[i / 2]) : wasm_i32x4_extend_low_i16x8(pairs[i / 2]);
        std::int32_t* to = y + (half + i) * rows + row;
        if (add) sum = wasm_i32x4_add(sum, wasm_v128_load(to));
        wasm_v128_store(to, sum);
      }
    }
  }
}

// y [16, rows] of one tile of 16 rows of x.
inline void table_tile(const PackedTernary& w, const std::int8_t* x, std::int32_t* y, void* scratch) {
  const int padded = w.padded_cols(), rows = w.rows(), groups = padded / 4;
  auto* table = static_cast<std::int16_t*>(scratch);
  auto* sums = table + kTableEntries * kTableRows;
  auto* columns = reinterpret_cast<std::int8_t*>(sums + rows * kTableRows);
  transpose_tile(x, w.cols(), padded, columns);
  for (int group = 0; group < groups; group += kTableGroups) {
    const int block = group / PackedTernary::kBlockBytes, in_block = group % PackedTernary::kBlockBytes;
    for (int g = 0; g < kTableGroups; ++g) {
      fill_table(columns + (block * PackedTernary::kBlock + in_block + g) * kTableRows,
                 table + g * kTableCodes * kTableRows);
    }
    const bool first = group % kFlushGroups == 0;
    for (int row = 0; row < rows; ++row) {
      const std::uint8_t* bytes = w.row(row) + group;
      std::int16_t* sum = sums + row * kTableRows;
      v128_t low = first ? wasm_i16x8_splat(0) : wasm_v128_load(sum);
      v128_t high = first ? wasm_i16x8_splat(0) : wasm_v128_load(sum + kHalf);
      for (int g = 0; g < kTableGroups; ++g) {
        const std::int16_t* entry = table + (g * kTableCodes + bytes[g]) * kTableRows;
        low = wasm_i16x8_add(low, wasm_v128_load(entry));
        high = wasm_i16x8_add(high, wasm_v128_load(entry + kHalf));
      }
      wasm_v128_store(sum, low);
      wasm_v128_store(sum + kHalf, high);
    }
    const int done = group + kTableGroups;
    if (done % kFlushGroups == 0 || done == groups) flush_sums(sums, rows, group >= kFlushGroups, y);
  }
}

}  // namespace
}  // namespace bitmar
