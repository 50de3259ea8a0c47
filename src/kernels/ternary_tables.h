// Sizes of the tables of partial sums (ternary_tables_simd128.h), which the scratch must have room for.
#pragma once

namespace bitmar {

inline constexpr int kTableRows = 16;   // rows of x a tile: two registers of int16
inline constexpr int kTableGroups = 8;  // bytes of a weight row whose tables are in cache together (27 KB are touched)
inline constexpr int kTableCodes = 0xaa + 1;  // the largest byte is four codes of 2
inline constexpr int kTableEntries = kTableGroups * kTableCodes;

}  // namespace bitmar
