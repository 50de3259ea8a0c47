// Ternary product for several rows of x: the codes of a few tiles of weights are widened once to what the
// instruction set multiplies, and then every row of x meets them in registers, with the rows of weights
// side by side, so that nothing is summed across a register. `Ops` names the instructions:
//   X                 what x is multiplied as, int8 or int16; 4 bytes of it are a step
//   kCode             what stands for the value 0 (x's sum times it is taken away at the end)
//   kRegisters        registers that a tile's sixteen rows take
//   kSteps            steps until a partial sum may be full; 0: never, so that it is the whole one too
//   unpack(tile, to, stride)  widens a tile, a step's registers `stride` bytes after the last step's
//   sum(x, n)         of n values, n a multiple of 16; where there is none a plain loop sums them
//   Wide, Part, Sums  registers of codes or x, partial sums, and whole ones
//   start, step, flush, store: partial sums of kSteps steps, and the whole ones that they are added to
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "kernels/kernels.h"

namespace bitmar {

inline constexpr int kWideTiles = 2;    // tiles at once at most
inline constexpr int kRowsAtOnce = 64;  // rows of x, so that scratch has a bound

namespace {

// x [m, cols] as rows of whole tiles, zeros behind: the caller's own rows where they are that already.
template <class X>
inline const X* pad_rows(const PackedTernary& w, const std::int8_t* x, int m, X* to) {
  const int cols = w.cols(), padded = w.padded_cols();
  if constexpr (std::is_same_v<X, std::int8_t>) {
    if (cols == padded) return x;
  }
  for (int i = 0; i < m; ++i) {
    std::copy_n(x + i * cols, cols, to + i * padded);
    std::fill_n(to + i * padded + cols, padded - cols, X{0});
  }
  return to;
}

template <class X>
inline std::int32_t sum_row(const X* x, int n) {
  std::int32_t sum = 0;
  for (int i = 0; i < n; ++i) sum += x[i];
  return sum;
}

// The same of a padded row, by the instruction set's own way if there is one.
template <class Ops>
inline std::int32_t sum_padded(const typename Ops::X* x, int n) {
  if constexpr (requires { Ops::sum(x, n); }) {
    return Ops::sum(x, n);
  } else {
    return sum_row(x, n);
  }
}

// `Least`: rows of x come in multiples of it.
template <class Ops, int Least>
class TernaryTiles {
 public:
  // At most kRowsAtOnce rows of x.
  static void run(const PackedTernary& w, const std::int8_t* x, int m, std::int32_t* y, std::byte* scratch) {
    const std::size_t codes = static_cast<std::size_t>(w.padded_cols()) * PackedTernary::kTile * kWideTiles;
    TernaryTiles work(w, m, reinterpret_cast<std::uint8_t*>(scratch));
    work.x_ = pad_rows(w, x, m, reinterpret_cast<X*>(scratch + codes));
    const int padded = w.padded_cols();
    for (int i = 0; i < m; ++i) work.less_[i] = Ops::kCode * sum_padded<Ops>(work.x_ + i * padded, padded);
    int down = 0;
    for (; down + Ops::kTiles <= w.tiles_down(); down += Ops::kTiles) work.template weigh<Ops::kTiles>(down, y);
    if constexpr (Ops::kTiles > 1) {
      for (; down < w.tiles_down(); ++down) work.template weigh<1>(down, y);
    }
  }

 private:
  using X = typename Ops::X;
  static constexpr int kTile = PackedTernary::kTile;
  static constexpr int kColumns = 4 / sizeof(X);   // a step
  static constexpr int kBytes = kTile * kColumns;  // a step's codes of a tile

  TernaryTiles(const PackedTernary& w, int m, std::uint8_t* codes) : w_(w), m_(m), codes_(codes) {}

  // y for all rows of x by `Tiles` times sixteen rows of weights.
  template <int Tiles>
  void weigh(int down, std::int32_t* y) {
    for (int tile = 0; tile < Tiles; ++tile) {
      const std::uint8_t* from = w_.tiles(down + tile);
      std::uint8_t* to = codes_ + tile * kBytes;
      for (int i = 0; i < w_.tiles_across(); ++i, from += PackedTernary::kTileBytes, to += Tiles * kTile * kTile) {
        Ops::unpack(from, to, Tiles * kBytes);
      }
    }
    weigh_rows<Ops::kRows, Tiles>(0, down, y);
  }

  template <int Rows, int Tiles>
  void weigh_rows(int i, int down, std::int32_t* y) {
    for (; i + Rows <= m_; i += Rows) block<Rows, Tiles>(i, down, y);
    if constexpr (Rows > Least) weigh_rows<Rows / 2, Tiles>(i, down, y);
  }

  template <int Rows, int Tiles>
  void block(int row, int down, std::int32_t* y) {
    constexpr int kWidth = Tiles * Ops::kRegisters;
    const int padded = w_.padded_cols();
    const std::uint8_t* codes = codes_;
    const X* x = x_ + row * padded;
    typename Ops::Sums sums[Rows][kWidth];
    for (int i = 0; i < Rows; ++i) {
      for (int j = 0; j < kWidth; ++j) sums[i][j] = Ops::sums(less_[row + i]);
    }
    const auto add_steps = [&](auto& part, int at, int until) {
      for (; at < until; at += kColumns, codes += Tiles * kBytes) {
        typename Ops::Wide w[kWidth];
        for (int j = 0; j < kWidth; ++j) w[j] = Ops::load(codes + j * (kBytes / Ops::kRegisters));
        for (int i = 0; i < Rows; ++i) {
          const auto values = Ops::splat(x + i * padded + at);
          for (int j = 0; j < kWidth; ++j) part[i][j] = Ops::step(part[i][j], w[j], values);
        }
      }
    };
    if constexpr (Ops::kSteps == 0) {
      add_steps(sums, 0, padded);
    } else {
      for (int at = 0, until; at < padded; at = until) {
        until = std::min(padded, at + Ops::kSteps * kColumns);
        typename Ops::Part part[Rows][kWidth];
        for (int i = 0; i < Rows; ++i) {
          for (int j = 0; j < kWidth; ++j) part[i][j] = Ops::start();
        }
        add_steps(part, at, until);
        for (int i = 0; i < Rows; ++i) {
          for (int j = 0; j < kWidth; ++j) Ops::flush(sums[i][j], part[i][j]);
        }
      }
    }
    // The last tile may have rows of padding, which y has no room for.
    const int have = std::min(Tiles * kTile, w_.rows() - down * kTile);
    std::int32_t line[Tiles * kTile];
    for (int i = 0; i < Rows; ++i) {
      std::int32_t* to = y + (row + i) * w_.rows() + down * kTile;
      std::int32_t* whole = have == Tiles * kTile ? to : line;
      for (int j = 0; j < kWidth; ++j) Ops::store(sums[i][j], whole + j * (kTile / Ops::kRegisters));
      if (whole == line) std::copy_n(line, have, to);
    }
  }

  const PackedTernary& w_;
  int m_;
  std::uint8_t* codes_;
  const X* x_ = nullptr;
  std::int32_t less_[kRowsAtOnce];
};

// Few rows of x go to `single` one by one, many to the tiles, a bounded number at a time, a multiple of `Least`.
template <class Ops, int Few, int Least = 1, class Single>
inline void ternary_product(const PackedTernary& w, const std::int8_t* x, int m, std::int32_t* y, void* scratch,
                            Single single) {
  auto* bytes = static_cast<std::byte*>(scratch);
  for (int count; m > 0; m -= count, x += count * w.cols(), y += count * w.rows()) {
    count = m <= Few ? 1 : std::min(m, kRowsAtOnce) / Least * Least;
    if (count == 1) {
      single(w, x, y, bytes);
    } else {
      TernaryTiles<Ops, Least>::run(w, x, count, y, bytes);
    }
  }
}

}  // namespace
}  // namespace bitmar
