#include <algorithm>

#include "kernels/kernels.h"
#include "kernels/ternary_tiles.h"

namespace bitmar {

namespace {

constexpr int shift_of(int col) { return 2 * (col % PackedTernary::kTile / 4); }

}  // namespace

PackedTernary::PackedTernary(std::span<const std::uint8_t> packed, int rows, int cols, Order order)
    : rows_(rows), cols_(cols), across_((cols + kTile - 1) / kTile), down_((rows + kTile - 1) / kTile), order_(order) {
  // Code 1 is the value 0: padding adds nothing even where x is not padded with zeros.
  bytes_.assign(row_bytes() * static_cast<std::size_t>(down_), 0x55);
  const int quarter = rows / 4;
  for (int r = 0; r < rows; ++r) {
    const std::uint8_t* from = packed.data() + static_cast<std::size_t>(r % quarter) * cols;
    const int row_shift = 2 * (r / quarter);
    for (int c = 0; c < cols; ++c) {
      const unsigned code = (from[c] >> row_shift) & 3u;
      if (code == 3) valid_ = false;
      std::uint8_t& byte = bytes_[place(r, c)];
      byte = static_cast<std::uint8_t>((byte & ~(3u << shift_of(c))) | code << shift_of(c));
    }
  }
}

std::size_t PackedTernary::place(int row, int col) const {
  const int r = row % kTile, group = col % 4;
  const int in_tile = order_ == Order::groups ? group * kTile + r : r * 4 + group;
  return (static_cast<std::size_t>(row / kTile) * across_ + col / kTile) * kTileBytes + in_tile;
}

int PackedTernary::value(int row, int col) const { return ((bytes_[place(row, col)] >> shift_of(col)) & 3) - 1; }

std::size_t PackedTernary::scratch_bytes(int m) const {
  // Of a few tiles the codes, one byte each, or the tables of one row of x, and x padded, as int16 at most.
  return static_cast<std::size_t>(padded_cols()) *
         (kWideTiles * kTile + std::min(m, kRowsAtOnce) * sizeof(std::int16_t));
}

}  // namespace bitmar
