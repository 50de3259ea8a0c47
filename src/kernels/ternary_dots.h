// Ternary product of one row of x for instruction sets that multiply bytes and add neighbours: codes are
// widened as they are read, sixteen rows of weights or more side by side. `Ops` as in ternary_tiles.h, and
//   kDotTiles           tiles at once
//   kChains             1, or 4: a sum for each of a byte's columns, where adding to one alone waits for its last step
//   kFlush              tiles until one may be full
//   codes<Plane>(bytes) one of the four columns that each byte holds
//   dot_codes<Plane>    the same, or, with four chains, left where it is in the byte;
//   dot_flush<Plane>    then this moves the sum instead
#pragma once

#include "kernels/ternary_tiles.h"

namespace bitmar {
namespace {

// y for `Tiles` times sixteen rows of weights; the last tile's padding goes nowhere.
template <class Ops, int Tiles>
inline void dot_tiles(const PackedTernary& w, int down, const std::int8_t* x, std::int32_t less, std::int32_t* y) {
  constexpr int kTile = PackedTernary::kTile, kWidth = Tiles * Ops::kRegisters;
  constexpr int kStep = 4;  // columns
  const std::size_t pitch = w.row_bytes();
  const std::uint8_t* bytes = w.tiles(down);
  typename Ops::Sums sums[kWidth];
  for (auto& s : sums) s = Ops::sums(less);
  for (int tile = 0; tile < w.tiles_across();) {
    const int until = std::min(w.tiles_across(), tile + Ops::kFlush);
    typename Ops::Part part[kWidth][Ops::kChains];
    for (int j = 0; j < kWidth; ++j) {
      for (int chain = 0; chain < Ops::kChains; ++chain) part[j][chain] = Ops::start();
    }
    for (; tile < until; ++tile, bytes += PackedTernary::kTileBytes, x += kTile) {
      typename Ops::Wide values[4];
      for (int plane = 0; plane < 4; ++plane) values[plane] = Ops::splat(x + plane * kStep);
      for (int j = 0; j < kWidth; ++j) {
        const int in_tile = j % Ops::kRegisters * (PackedTernary::kTileBytes / Ops::kRegisters);
        const auto v = Ops::load(bytes + j / Ops::kRegisters * pitch + in_tile);
        auto* p = part[j];
        p[0] = Ops::step(p[0], Ops::template dot_codes<0>(v), values[0]);
        p[1 % Ops::kChains] = Ops::step(p[1 % Ops::kChains], Ops::template dot_codes<1>(v), values[1]);
        p[2 % Ops::kChains] = Ops::step(p[2 % Ops::kChains], Ops::template dot_codes<2>(v), values[2]);
        p[3 % Ops::kChains] = Ops::step(p[3 % Ops::kChains], Ops::template dot_codes<3>(v), values[3]);
      }
    }
    for (int j = 0; j < kWidth; ++j) {
      Ops::template dot_flush<0>(sums[j], part[j][0]);
      if constexpr (Ops::kChains == 4) {
        Ops::template dot_flush<1>(sums[j], part[j][1]);
        Ops::template dot_flush<2>(sums[j], part[j][2]);
        Ops::template dot_flush<3>(sums[j], part[j][3]);
      }
    }
  }
  const int have = std::min(Tiles * kTile, w.rows() - down * kTile);
  std::int32_t line[Tiles * kTile];
  std::int32_t* whole = have == Tiles * kTile ? y + down * kTile : line;
  for (int j = 0; j < kWidth; ++j) Ops::store(sums[j], whole + j * (kTile / Ops::kRegisters));
  if (whole == line) std::copy_n(line, have, y + down * kTile);
}

template <class Ops>
inline void ternary_dots(const PackedTernary& w, const std::int8_t* x, std::int32_t* y, std::byte* scratch) {
  const std::int32_t less = sum_row(x, w.cols());
  x = pad_rows(w, x, 1, reinterpret_cast<std::int8_t*>(scratch));
  int down = 0;
  for (; down + Ops::kDotTiles <= w.tiles_down(); down += Ops::kDotTiles) {
    dot_tiles<Ops, Ops::kDotTiles>(w, down, x, less, y);
  }
  if constexpr (Ops::kDotTiles > 1) {
    for (; down < w.tiles_down(); ++down) dot_tiles<Ops, 1>(w, down, x, less, y);
  }
}

// The tile's bytes are in the order of registers already.
template <class Ops>
inline void unpack_planes(const std::uint8_t* tile, std::uint8_t* to, int stride) {
  constexpr int kBytes = PackedTernary::kTileBytes / Ops::kRegisters;
  for (int j = 0; j < Ops::kRegisters; ++j) {
    const auto v = Ops::load(tile + j * kBytes);
    std::uint8_t* at = to + j * kBytes;
    Ops::save(Ops::template codes<0>(v), at);
    Ops::save(Ops::template codes<1>(v), at + stride);
    Ops::save(Ops::template codes<2>(v), at + 2 * stride);
    Ops::save(Ops::template codes<3>(v), at + 3 * stride);
  }
}

template <class Ops>
void dots_gemm(const PackedTernary& w, const std::int8_t* x, int m, std::int32_t* y, void* scratch) {
  constexpr int kFew = 3;  // widening pays from four rows on
  ternary_product<Ops, kFew>(w, x, m, y, scratch, ternary_dots<Ops>);
}

}  // namespace
}  // namespace bitmar
