// WebAssembly relaxed SIMD, by one of two instructions. i32x4.relaxed_dot_i8x16_i7x16_add multiplies sixteen bytes
// and adds them up by fours. The codes {0, 1, 2} of the weights are its seven-bit operand, and no sum of two products
// is near 2^15, so every processor gives the same; one instruction does it on some (AVX-VNNI, Arm). On others a swizzle
// without a check of its indices still makes simd128's look-up faster.
#include "kernels/tables.h"

#if defined(__wasm_relaxed_simd__)

#include <wasm_simd128.h>

#include "kernels/ternary_dots.h"
#include "kernels/ternary_lookup_simd128.h"
#include "kernels/winograd.h"

namespace bitmar {
namespace {

struct Dots {
  using X = std::int8_t;
  using Wide = v128_t;
  using Sums = v128_t;
  static constexpr int kCode = 1, kRegisters = 4, kSteps = 0, kRows = 2, kTiles = 1;
  static constexpr int kWinogradRows = 2;
  static Wide load(const void* p) { return wasm_v128_load(p); }
  static void save(Wide v, void* p) { wasm_v128_store(p, v); }
  static Wide splat(const std::int8_t* x) { return wasm_v128_load32_splat(x); }
  template <int Plane>
  static Wide codes(Wide bytes) {
    return wasm_v128_and(wasm_u16x8_shr(bytes, 2 * Plane), wasm_i8x16_const_splat(3));
  }
  static void unpack(const std::uint8_t* tile, std::uint8_t* to, int stride) { unpack_planes<Dots>(tile, to, stride); }
  static Wide step(Wide sums, Wide codes, Wide x) { return wasm_i32x4_relaxed_dot_i8x16_i7x16_add(x, codes, sums); }
  static std::int32_t sum(const std::int8_t* x, int n) {
    v128_t four = wasm_i32x4_const_splat(0);
    for (int i = 0; i < n; i += 16) four = step(four, wasm_i8x16_const_splat(1), wasm_v128_load(x + i));
    return wasm_i32x4_extract_lane(four, 0) + wasm_i32x4_extract_lane(four, 1) + wasm_i32x4_extract_lane(four, 2) +
           wasm_i32x4_extract_lane(four, 3);
  }
  static Sums sums(std::int32_t less) { return wasm_i32x4_splat(-less); }
  static void store(Sums sums, std::int32_t* y) { save(sums, y); }
};

// A splat of a number that the compiler cannot see: V8 makes a constant anew in every round of a loop.
inline v128_t hidden_splat(std::int8_t value) {
  volatile std::int8_t hidden = value;
  return wasm_i8x16_splat(hidden);
}

// y [16] of one row of x by sixteen rows of weights. Of the two columns of a nibble the second is multiplied where
// it is, four times too large, into sums of its own: fewer shifts, and twice as many sums to add to, none of which
// waits for another. Low and high nibbles have a pass each: both in one would want more registers than there are.
[[gnu::noinline]] void dot_tiles(const std::uint8_t* w, const std::int8_t* x, int tiles, std::int32_t less,
                                 std::int32_t* y) {
  constexpr int kTile = PackedTernary::kTile, kQuads = kTile / 4;  // four rows a register
  const v128_t low = hidden_splat(3), high = hidden_splat(3 << 2);
  v128_t once[kQuads], four_times[kQuads];
  for (int j = 0; j < kQuads; ++j) once[j] = Dots::sums(less), four_times[j] = Dots::sums(0);
  const auto pass = [&](const std::int8_t* from, auto nibbles) {
    const std::uint8_t* at = w;
    for (int tile = 0; tile < tiles; ++tile, at += PackedTernary::kTileBytes, from += kTile) {
      const v128_t first = Dots::splat(from), second = Dots::splat(from + 4);
      for (int j = 0; j < kQuads; ++j) {
        const v128_t codes = nibbles(Dots::load(at + 16 * j));
        once[j] = Dots::step(once[j], wasm_v128_and(codes, low), first);
        four_times[j] = Dots::step(four_times[j], wasm_v128_and(codes, high), second);
      }
    }
  };
  pass(x, [](v128_t bytes) { return bytes; });
  pass(x + 8, [](v128_t bytes) { return wasm_u16x8_shr(bytes, 4); });
  for (int j = 0; j < kQuads; ++j) {
    Dots::store(wasm_i32x4_add(once[j], wasm_i32x4_shr(four_times[j], 2)), y + 4 * j);
  }
}

void dot_row(const PackedTernary& w, const std::int8_t* x, std::int32_t* y, std::byte* scratch) {
  constexpr int kTile = PackedTernary::kTile;
  x = pad_rows(w, x, 1, reinterpret_cast<std::int8_t*>(scratch));
  const std::int32_t less = Dots::sum(x, w.padded_cols());
  for (int down = 0; down < w.tiles_down(); ++down) {
    const int have = std::min(kTile, w.rows() - down * kTile);
    std::int32_t line[kTile];
    std::int32_t* to = have == kTile ? y + down * kTile : line;
    dot_tiles(w.tiles(down), x, w.tiles_across(), less, to);
    if (to == line) std::copy_n(line, have, y + down * kTile);
  }
}

void dots_product(const PackedTernary& w, const std::int8_t* x, int m, std::int32_t* y, void* scratch) {
  constexpr int kFew = 5;  // widening pays from six rows on
  ternary_product<Dots, kFew, Dots::kRows>(w, x, m, y, scratch, dot_row);
}

// int8 products of eight rows of weights by rows of x in pairs, for the few columns of a first convolution. A weight's
// code w + 128 has a bit too many for the instruction: its upper seven and its lowest are multiplied apart.
class Int8Dots {
 public:
  static constexpr int kMost = 64;  // columns
  static constexpr int kRows = 8, kStep = 4;

  Int8Dots(const std::int8_t* w, int rows, int n, int k) : rows_(std::min(rows, kRows)), n_(n), k_(k) {
    std::int8_t code[kMost / kStep + 1][kRows][kStep] = {};  // columns and rows that are not there weigh nothing
    for (int row = 0; row < rows_; ++row) {
      int i = 0;
      for (; i + kStep <= k; i += kStep) std::memcpy(code[i / kStep][row], w + row * k + i, kStep);
      std::copy_n(w + row * k + i, k - i, code[i / kStep][row]);
    }
    for (int step = 0; step * kStep < k; ++step) {
      for (int j = 0; j < kQuads; ++j) {
        const v128_t codes = wasm_v128_xor(Dots::load(code[step][4 * j]), wasm_i8x16_const_splat(-128));
        upper_[step][j] = wasm_u8x16_shr(codes, 1);
        lowest_[step][j] = wasm_v128_and(codes, wasm_i8x16_const_splat(1));
      }
    }
  }

  // y [Rows, n] of rows of x that lie k apart; reads to the next multiple of four columns, into the next row of x.
  template <int Rows>
  void run(const std::int8_t* x, std::int32_t* y) const {
    const v128_t one = hidden_splat(1);
    v128_t sum[Rows], upper[Rows][kQuads], lowest[Rows][kQuads];
    for (int i = 0; i < Rows; ++i) {
      sum[i] = wasm_i32x4_const_splat(0);
      for (int j = 0; j < kQuads; ++j) upper[i][j] = lowest[i][j] = wasm_i32x4_const_splat(0);
    }
    for (int step = 0; step * kStep < k_; ++step) {
      for (int i = 0; i < Rows; ++i) {
        const v128_t four = Dots::splat(x + i * k_ + step * kStep);
        sum[i] = Dots::step(sum[i], one, four);
        for (int j = 0; j < kQuads; ++j) {
          upper[i][j] = Dots::step(upper[i][j], upper_[step][j], four);
          lowest[i][j] = Dots::step(lowest[i][j], lowest_[step][j], four);
        }
      }
    }
    for (int i = 0; i < Rows; ++i) {
      std::int32_t line[kRows];
      std::int32_t* to = rows_ == kRows ? y + i * n_ : line;
      for (int j = 0; j < kQuads; ++j) {
        const v128_t codes = wasm_i32x4_add(wasm_i32x4_shl(upper[i][j], 1), lowest[i][j]);
        Dots::store(wasm_i32x4_sub(codes, wasm_i32x4_shl(sum[i], 7)), to + 4 * j);
      }
      if (to == line) std::copy_n(line, rows_, y + i * n_);
    }
  }

 private:
  static constexpr int kQuads = kRows / 4;
  int rows_, n_, k_;
  v128_t upper_[kMost / kStep][kQuads], lowest_[kMost / kStep][kQuads];
};

void int8_dots(const std::int8_t* w, const std::int8_t* x, int m, int n, int k, std::int32_t* y) {
  constexpr int kFew = 8;  // rows of x that do not pay for the codes
  if (m < kFew || k < Int8Dots::kStep || k > Int8Dots::kMost) return simd128_kernels()->int8_gemm(w, x, m, n, k, y);
  std::int8_t last[Int8Dots::kMost] = {};
  std::copy_n(x + (m - 1) * k, k, last);
  for (int row = 0; row < n; row += Int8Dots::kRows) {
    const Int8Dots dots(w + row * k, n - row, n, k);
    int i = 0;
    for (; i + 2 < m; i += 2) dots.run<2>(x + i * k, y + i * n + row);
    for (; i + 1 < m; ++i) dots.run<1>(x + i * k, y + i * n + row);
    dots.run<1>(last, y + i * n + row);
  }
}

struct Swizzle {
  static v128_t run(v128_t table, v128_t at) { return wasm_i8x16_relaxed_swizzle(table, at); }
};

void swizzle_product(const PackedTernary& w, const std::int8_t* x, int m, std::int32_t* y, void* scratch) {
  if (m > 3) return simd128_kernels()->ternary_gemm(w, x, m, y, scratch);
  for (int i = 0; i < m; ++i) {
    ternary_lookup<Swizzle>(w, x + i * w.cols(), y + i * w.rows(), static_cast<std::byte*>(scratch));
  }
}

// Whether a dot product is one instruction. The second operand should not have eight bits, and what comes of it if it
// has tells: one instruction takes them as unsigned (AVX-VNNI) or as signed (Arm); x86 processors without it have one
// that adds pairs into saturating int16. Anything else is a mistake, such as that of V8's baseline compiler in node 20.
bool dot_is_fast() {
  const v128_t sums = Dots::step(wasm_i32x4_const_splat(0), hidden_splat(-1), hidden_splat(127));
  const std::int32_t sum = wasm_i32x4_extract_lane(sums, 0);
  return sum == 4 * 127 * 255 || sum == 4 * 127 * -1;
}

}  // namespace

const Kernels* relaxed_simd_kernels() {
  // Everything but the integer products is simd128's, and their order is the look-up's.
  static const Kernels table = [] {
    Kernels t = *simd128_kernels();
    t.name = "relaxed_swizzle";
    t.ternary_gemm = swizzle_product;
    if (dot_is_fast()) {
      t.name = "relaxed_dot";
      t.order = PackedTernary::Order::rows;
      t.ternary_gemm = dots_product;
      t.int8_gemm = int8_dots;
      t.winograd_input = winograd_input<Dots>;
      t.winograd_gemm = WinogradTiles<Dots>::run;
    }
    return t;
  }();
  return &table;
}

}  // namespace bitmar

#else

namespace bitmar {
const Kernels* relaxed_simd_kernels() { return nullptr; }
}  // namespace bitmar

#endif
