#include <algorithm>

#include "kernels/kernels.h"
#include "kernels/ternary_tables.h"

namespace bitmar {

PackedTernary::PackedTernary(std::span<const std::uint8_t> packed, int rows, int cols)
    : rows_(rows), cols_(cols), blocks_((cols + kBlock - 1) / kBlock) {
  const std::size_t row_bytes = static_cast<std::size_t>(blocks_) * kBlockBytes;
  // Code 1 is the value 0: padding adds nothing even where x is not padded with zeros.
  bytes_.assign(rows * row_bytes, 0x55);
  const int quarter = rows / 4;
  for (int r = 0; r < rows; ++r) {
    const std::uint8_t* from = packed.data() + static_cast<std::size_t>(r % quarter) * cols;
    const int shift = 2 * (r / quarter);
    std::uint8_t* to = bytes_.data() + r * row_bytes;
    for (int c = 0; c < cols; ++c) {
      const unsigned code = (from[c] >> shift) & 3u;
      if (code == 3) valid_ = false;
      const int in_block = c % kBlock, plane = 2 * (in_block / kBlockBytes);
      std::uint8_t& byte = to[c / kBlock * kBlockBytes + in_block % kBlockBytes];
      byte = static_cast<std::uint8_t>((byte & ~(3u << plane)) | code << plane);
    }
  }
}

int PackedTernary::value(int r, int c) const {
  const int in_block = c % kBlock;
  const std::uint8_t byte = row(r)[c / kBlock * kBlockBytes + in_block % kBlockBytes];
  return ((byte >> (2 * (in_block / kBlockBytes))) & 3) - 1;
}

std::size_t PackedTernary::scratch_bytes(int m) const {
  // The hungriest kernel is simd128's: for few rows, x padded and widened to int16 and a sum a row; for tiles
  // of rows, tables of partial sums (ternary_tables_simd128.h).
  const std::size_t few =
      static_cast<std::size_t>(std::min(m, kTableRows)) * (padded_cols() * sizeof(std::int16_t) + sizeof(std::int32_t));
  const std::size_t tile =
      m < kTableRows
          ? 0
          : kTableRows * (static_cast<std::size_t>(padded_cols()) + sizeof(std::int16_t) * (kTableEntries + rows_));
  // The pairs of AVX2 and relaxed SIMD want x padded.
  return std::max({few, tile, static_cast<std::size_t>(m) * padded_cols()});
}

}  // namespace bitmar
