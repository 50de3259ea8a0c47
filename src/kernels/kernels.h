// The arithmetic of the model: integer products that are exact, and float operations whose order is
// fixed, so that every build of every instruction set gives the same bits.
//
// Float reductions use eight partial sums: element i goes to sum i % 8, and the sums are combined as
// ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7)). No fused multiply-add, no C library functions.
// Pointers need no alignment. Nothing here allocates. Every size >= 1 is allowed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace bitmar {

// A ternary matrix [rows, cols] with values in {-1, 0, 1}, held at 2 bits each (code = value + 1) in
// tiles of 16 x 16, 64 bytes each, tiles of the same rows one after another; padding has code 1. A byte
// holds four columns of one row: byte `group` of a row has columns group, group + 4, group + 8 and
// group + 12 of the tile from its low bits to its high ones, so that shifted and masked it gives one of
// four consecutive columns.
class PackedTernary {
 public:
  // Of a tile's bytes, as the kernels read them into registers: a row's four together where four columns
  // are multiplied at once, the sixteen rows of a group together where they are looked up.
  enum class Order { rows, groups };

  static constexpr int kTile = 16;
  static constexpr int kTileBytes = kTile * kTile / 4;

  PackedTernary() = default;
  // `packed` is the Hugging Face BitNet form, [rows / 4, cols] bytes: row i * (rows / 4) + r sits in bits
  // 2i..2i+1 of packed row r. rows is a multiple of 4. A code of 3 has no meaning: valid() tells.
  PackedTernary(std::span<const std::uint8_t> packed, int rows, int cols, Order order);

  int rows() const { return rows_; }
  int cols() const { return cols_; }
  int padded_cols() const { return across_ * kTile; }
  int tiles_across() const { return across_; }
  int tiles_down() const { return down_; }
  bool valid() const { return valid_; }
  // The first of the tiles of rows 16 * down .. 16 * down + 15.
  const std::uint8_t* tiles(int down) const { return bytes_.data() + row_bytes() * static_cast<std::size_t>(down); }
  std::size_t row_bytes() const { return static_cast<std::size_t>(across_) * kTileBytes; }  // of sixteen rows
  int value(int row, int col) const;                                                        // -1, 0 or 1
  std::size_t bytes() const { return bytes_.size(); }
  // What ternary_gemm wants for m rows of x, whichever kernel runs.
  std::size_t scratch_bytes(int m) const;

 private:
  std::size_t place(int row, int col) const;  // of the byte that holds an element

  int rows_ = 0, cols_ = 0, across_ = 0, down_ = 0;
  Order order_ = Order::rows;
  bool valid_ = true;
  std::vector<std::uint8_t> bytes_;
};

// A ternary convolution of 3 x 3 and stride 1 as Winograd's minimal filtering F(2, 3) takes it along every line
// (arXiv 1509.09308): two neighbouring outputs of inputs d0..d3 and weights g0..g2 want four products instead of six,
//   s0 = (d0 - d2) g0, s1 = (d1 + d2) (g0 + g1 + g2), s2 = (d2 - d1) (g0 - g1 + g2), s3 = (d1 - d3) g2,
//   y0 = s0 + (s1 + s2) / 2, y1 = (s1 - s2) / 2 - s3,
// in integers without a remainder. Inputs are 0..127, so that all sums of two are an int8, d1 + d2 less kLargest. The
// sums of weights, -3..3, are held as codes of a byte each (value + 3), which is what the products read.
class WinogradFilter {
 public:
  static constexpr int kProducts = 4, kLines = 3, kCode = 3, kLargest = 127;
  static constexpr int kTile = PackedTernary::kTile, kStep = 4;

  WinogradFilter() = default;
  // w is [out, 3 * 3 * in] and fits().
  explicit WinogradFilter(const PackedTernary& w);
  static bool fits(int in, int out) { return in % kTile == 0 && out % kTile == 0; }

  int in() const { return in_; }
  int out() const { return out_; }
  bool empty() const { return codes_.empty(); }
  std::size_t bytes() const { return codes_.size() + middle_.size() * sizeof(std::int32_t); }
  // Of outputs 16 * tile .. 16 * tile + 15: [3 * in / 4, 16, 4], four neighbouring inputs a step.
  const std::uint8_t* codes(int tile, int product) const {
    return codes_.data() + (static_cast<std::size_t>(tile) * kProducts + product) * kTile * kLines * in_;
  }
  // What s1 lacks for kLargest having been taken from its inputs. [out]
  const std::int32_t* middle() const { return middle_.data(); }

 private:
  int in_ = 0, out_ = 0;
  std::vector<std::uint8_t> codes_;
  std::vector<std::int32_t> middle_;
};

// Bits of the fraction of a resampling weight, as in Pillow: 32 less 8 of a sample, less 2 to spare.
inline constexpr int kWeightBits = 22;
inline constexpr std::int32_t kWeightsHalf = 1 << (kWeightBits - 1);

struct Kernels {
  const char* name;

  // y [m, w.rows] = x [m, w.cols] . w^T, exact in int32; x >= -127. scratch: w.scratch_bytes(m) bytes. w is held
  // in `order`; the scalar table takes any.
  PackedTernary::Order order;
  void (*ternary_gemm)(const PackedTernary& w, const std::int8_t* x, int m, std::int32_t* y, void* scratch);
  // y [m, n] = x [m, k] . w [n, k]^T, exact in int32 (k <= 131071).
  void (*int8_gemm)(const std::int8_t* w, const std::int8_t* x, int m, int n, int k, std::int32_t* y);

  // The two halves of a convolution by w, null where plain products are as fast. Of a line of 2 * pairs + 2 pixels
  // [.., in] with values 0..127 the inputs u [4, pairs, in] of the four products and their sums [4, pairs].
  void (*winograd_input)(const std::int8_t* line, int pairs, int in, std::int8_t* u, std::int32_t* sums);
  // Of `lines` + 2 such lines, u [lines + 2, 4, pairs, in] and sums [lines + 2, 4, pairs]: y [lines, 2 * pairs, out].
  void (*winograd_gemm)(const WinogradFilter& w, const std::int8_t* u, const std::int32_t* sums, int lines, int pairs,
                        std::int32_t* y);

  // q [n] = round-to-nearest-even(x / s), s = max(max|x|, 1e-5) / 127; returns s (BitNet b1.58, arXiv 2402.17764).
  float (*quantize_row)(const float* x, int n, std::int8_t* q);
  // y [n] = float(acc) * scale
  void (*dequantize)(const std::int32_t* acc, int n, float scale, float* y);
  // y [n] = x * (1 / sqrt(mean(x^2) + eps)) * weight (RMSNorm, arXiv 1910.07467); y may be x.
  void (*rms_norm)(const float* x, const float* weight, int n, float eps, float* y);
  // x [n] in place: e^(x - max) / sum
  void (*softmax)(float* x, int n);
  float (*dot)(const float* a, const float* b, int n);
  void (*axpy)(float a, const float* x, int n, float* y);  // y += a * x
  // Attention's two halves over `count` rows that lie `stride` floats apart: row i is the at[i]-th, or the i-th where
  // at is null. y [count] = dot(x, row i); y [n] += a[0] * row 0, then a[1] * row 1, and so on.
  void (*dot_rows)(const float* x, const float* rows, const int* at, std::ptrdiff_t stride, int count, int n, float* y);
  void (*axpy_rows)(const float* a, const float* rows, const int* at, std::ptrdiff_t stride, int count, int n,
                    float* y);
  float (*dot_int8)(const float* a, const std::int8_t* b, int n);
  void (*axpy_int8)(float a, const std::int8_t* x, int n, float* y);      // y += a * x
  void (*add)(const float* x, int n, float* y);                           // y += x
  void (*maximum)(const float* const* rows, int count, int n, float* y);  // y [n] = the largest of each column
  void (*relu)(float* x, int n);
  void (*relu_squared)(float* x, int n);
  // Folded batch norm of a convolution: y [n] = (float(acc) * scale) * a + b, then ReLU if asked.
  void (*affine)(const std::int32_t* acc, int n, float scale, const float* a, const float* b, bool relu, float* y);
  // The same with one scale per channel: y [n] = (float(acc) * scale[i]) * a + b.
  void (*affine_rows)(const std::int32_t* acc, int n, const float* scale, const float* a, const float* b, bool relu,
                      float* y);

  // Weighted means of 8-bit samples: (sum of sample * weight + 1/2) rounded down, at most 255; weights [taps] in units
  // of 2^-22, not negative, together about 1. Of a line of pixels with 3 or 4 channels, of which the fourth is dropped:
  // to [n, 3], each of the `taps` pixels from first[i] on with weights [n, taps].
  void (*resample_row)(const std::uint8_t* from, int channels, const std::int32_t* first, const std::int32_t* weights,
                       int taps, int n, std::uint8_t* to);
  // Of `taps` lines that lie `pitch` bytes apart: to [n]
  void (*resample_column)(const std::uint8_t* from, std::ptrdiff_t pitch, const std::int32_t* weights, int taps, int n,
                          std::uint8_t* to);
};

// The reference that defines every result, plain C++ on every platform.
const Kernels& scalar_kernels();
// Every table that this processor can run, fastest first, scalar last.
std::span<const Kernels* const> available_kernels();
// Whether a table gives the reference's bits on a fixed set of small inputs.
bool passes_self_check(const Kernels& candidate);

struct Chosen {
  const Kernels* kernels;
  const char* rejected;  // name of a faster table that failed its self-check, or nullptr
  bool known = true;     // the name is that of a candidate
};
// The first of the candidates that passes its self-check, the scalar table if none does. With a name only
// tables of that name are candidates; an empty one is none.
Chosen choose_kernels(std::span<const Kernels* const> candidates, const char* name = nullptr);
// The fastest one, chosen at first use. Natively the environment variable BITMAR_KERNELS is the name.
const Chosen& chosen_kernels();
inline const Kernels& kernels() { return *chosen_kernels().kernels; }

}  // namespace bitmar
