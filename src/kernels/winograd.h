// The products of Winograd's minimal filtering (see WinogradFilter): sixteen outputs of two pixels by `Ops`, as in
// ternary_tiles.h, and
//   kWinogradRows  pairs of pixels at once
// Partial sums of its steps are never full, and so whole ones.
#pragma once

#include "kernels/ternary_tiles.h"

namespace bitmar {
namespace {

// Sums wrap around on their way to what fits again.
using Sixteen = std::uint8_t __attribute__((vector_size(16)));

template <class Ops>
void winograd_input(const std::int8_t* line, int pairs, int in, std::int8_t* u, std::int32_t* sums) {
  const int product = pairs * in;
  for (int p = 0; p < pairs; ++p, line += 2 * in) {
    std::int8_t* to = u + p * in;
    for (int c = 0; c < in; c += WinogradFilter::kTile) {
      const auto pixel = [&](int i) {
        Sixteen d;
        std::memcpy(&d, line + i * in + c, sizeof d);
        return d;
      };
      const Sixteen d0 = pixel(0), d1 = pixel(1), d2 = pixel(2), d3 = pixel(3);
      const Sixteen inputs[] = {d0 - d2, d1 + d2 - std::uint8_t{WinogradFilter::kLargest}, d2 - d1, d1 - d3};
      for (int i = 0; i < WinogradFilter::kProducts; ++i)
        std::memcpy(to + i * product + c, &inputs[i], sizeof inputs[i]);
    }
    for (int i = 0; i < WinogradFilter::kProducts; ++i) sums[i * pairs + p] = sum_padded<Ops>(to + i * product, in);
  }
}

template <class Ops>
class WinogradTiles {
 public:
  static void run(const WinogradFilter& w, const std::int8_t* u, const std::int32_t* sums, int lines, int pairs,
                  std::int32_t* y) {
    WinogradTiles work(w, pairs);
    const int all = lines * pairs;
    for (int first = 0; first < all; first += kMost) {
      work.start(u, sums, first, std::min(kMost, all - first));
      for (int tile = 0; tile < w.out() / kTile; ++tile) work.weigh(tile, y + 2 * first * w.out() + tile * kTile);
    }
  }

 private:
  static constexpr int kMost = 32;  // pairs, so that their products stay near
  static constexpr int kRows = Ops::kWinogradRows;
  static_assert(kMost % kRows == 0);
  static constexpr int kTile = WinogradFilter::kTile, kStep = WinogradFilter::kStep;
  static constexpr int kProducts = WinogradFilter::kProducts, kLines = WinogradFilter::kLines;

  WinogradTiles(const WinogradFilter& w, int pairs) : w_(w), pairs_(pairs) {}

  void start(const std::int8_t* u, const std::int32_t* sums, int first, int count) {
    count_ = count;
    // What fills the last block up is done again, and not read.
    for (int i = 0; i < (count + kRows - 1) / kRows * kRows; ++i) {
      const int pair = first + std::min(i, count - 1), line = pair / pairs_;
      const int place = line * kProducts * pairs_ + pair % pairs_;
      from_[i] = u + static_cast<std::ptrdiff_t>(place) * w_.in();
      for (int product = 0; product < kProducts; ++product) {
        const std::int32_t* s = sums + place + product * pairs_;
        const int next = kProducts * pairs_;
        less_[product][i] = WinogradFilter::kCode * (s[0] + s[next] + s[2 * next]);
      }
    }
  }

  // y of sixteen outputs, for all pairs
  void weigh(int tile, std::int32_t* y) {
    for (int product = 0; product < kProducts; ++product) {
      for (int i = 0; i < count_; i += kRows) block(tile, product, i);
    }
    const std::int32_t* middle = w_.middle() + tile * kTile;
    for (int i = 0; i < count_; ++i, y += 2 * w_.out()) {
      std::int32_t* second = y + w_.out();
      for (int j = 0; j < kTile; ++j) {
        const std::int32_t s1 = products_[1][i][j] + middle[j], s2 = products_[2][i][j];
        y[j] = products_[0][i][j] + ((s1 + s2) >> 1);
        second[j] = ((s1 - s2) >> 1) - products_[3][i][j];
      }
    }
  }

  void block(int tile, int product, int row) {
    constexpr int kWidth = Ops::kRegisters, kRegister = kTile * kStep / kWidth;  // bytes
    const std::uint8_t* codes = w_.codes(tile, product);
    const int in = w_.in();
    const std::ptrdiff_t next = static_cast<std::ptrdiff_t>(kProducts) * pairs_ * in;
    const std::int8_t* x[kRows];
    typename Ops::Sums sums[kRows][kWidth];
    for (int i = 0; i < kRows; ++i) {
      x[i] = from_[row + i] + static_cast<std::ptrdiff_t>(product) * pairs_ * in;
      for (int j = 0; j < kWidth; ++j) sums[i][j] = Ops::sums(less_[product][row + i]);
    }
    for (int line = 0; line < kLines; ++line) {
      for (int at = 0; at < in; at += kStep, codes += kTile * kStep) {
        typename Ops::Wide w[kWidth];
        for (int j = 0; j < kWidth; ++j) w[j] = Ops::load(codes + j * kRegister);
        for (int i = 0; i < kRows; ++i) {
          const auto values = Ops::splat(x[i] + at);
          for (int j = 0; j < kWidth; ++j) sums[i][j] = Ops::step(sums[i][j], w[j], values);
        }
      }
      for (int i = 0; i < kRows; ++i) x[i] += next;
    }
    for (int i = 0; i < kRows; ++i) {
      for (int j = 0; j < kWidth; ++j) Ops::store(sums[i][j], products_[product][row + i] + j * (kTile / kWidth));
    }
  }

  const WinogradFilter& w_;
  int pairs_, count_ = 0;
  const std::int8_t* from_[kMost];
  std::int32_t less_[kProducts][kMost];
  std::int32_t products_[kProducts][kMost][kTile];
};

}  // namespace
}  // namespace bitmar
