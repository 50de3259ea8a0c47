#include "kernels/kernels.h"

namespace bitmar {

WinogradFilter::WinogradFilter(const PackedTernary& w)
    : in_(w.cols() / (kLines * kLines)), out_(w.rows()), middle_(static_cast<std::size_t>(w.rows())) {
  const std::size_t product = static_cast<std::size_t>(kTile) * kLines * in_;  // codes of one of a tile's products
  codes_.resize(kProducts * product * (out_ / kTile));
  for (int row = 0; row < out_; ++row) {
    std::uint8_t* tile = codes_.data() + row / kTile * kProducts * product;
    for (int at = 0; at < kLines * in_; ++at) {
      const int first = at / in_ * kLines * in_ + at % in_;  // of a line's three weights
      const int g0 = w.value(row, first), g1 = w.value(row, first + in_), g2 = w.value(row, first + 2 * in_);
      const int sums[kProducts] = {g0, g0 + g1 + g2, g0 - g1 + g2, g2};
      std::uint8_t* to = tile + (at / kStep * kTile + row % kTile) * kStep + at % kStep;
      for (int i = 0; i < kProducts; ++i) to[i * product] = static_cast<std::uint8_t>(sums[i] + kCode);
      middle_[row] += kLargest * sums[1];
    }
  }
}

}  // namespace bitmar
