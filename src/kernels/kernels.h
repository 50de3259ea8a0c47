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
// the order the vector kernels read: a row is padded to blocks of 64 columns, 16 bytes a block, and
// byte j of a block holds columns j, j + 16, j + 32 and j + 48 from its low bits to its high ones.
// One layout serves every kernel: shifted and masked, a register of bytes gives 16 codes of each
// plane; read one by one, a byte is an index into a table of partial sums.
class PackedTernary {
 public:
  static constexpr int kBlock = 64;  // columns a block
  static constexpr int kBlockBytes = 16;

  PackedTernary() = default;
  // `packed` is the Hugging Face BitNet form, [rows / 4, cols] bytes: row i * (rows / 4) + r sits in bits
  // 2i..2i+1 of packed row r. rows is a multiple of 4. A code of 3 has no meaning: valid() tells.
  PackedTernary(std::span<const std::uint8_t> packed, int rows, int cols);

  int rows() const { return rows_; }
  int cols() const { return cols_; }
  int padded_cols() const { return blocks_ * kBlock; }
  int blocks() const { return blocks_; }
  bool valid() const { return valid_; }
  const std::uint8_t* row(int r) const { return bytes_.data() + static_cast<std::size_t>(r) * blocks_ * kBlockBytes; }
  int value(int row, int col) const;  // -1, 0 or 1
  std::size_t bytes() const { return bytes_.size(); }
  // What ternary_gemm wants for m rows of x, whichever kernel runs.
  std::size_t scratch_bytes(int m) const;

 private:
  int rows_ = 0, cols_ = 0, blocks_ = 0;
  bool valid_ = true;
  std::vector<std::uint8_t> bytes_;
};

struct Kernels {
  const char* name;

  // y [m, w.rows] = x [m, w.cols] . w^T, exact in int32. scratch: w.scratch_bytes(m) bytes.
  void (*ternary_gemm)(const PackedTernary& w, const std::int8_t* x, int m, std::int32_t* y, void* scratch);
  // y [m, n] = x [m, k] . w [n, k]^T, exact in int32 (k <= 131071).
  void (*int8_gemm)(const std::int8_t* w, const std::int8_t* x, int m, int n, int k, std::int32_t* y);

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
  float (*dot_int8)(const float* a, const std::int8_t* b, int n);
  void (*axpy_int8)(float a, const std::int8_t* x, int n, float* y);  // y += a * x
  void (*add)(const float* x, int n, float* y);            // y += x
  void (*maximum)(const float* x, int n, float* y);        // y = max(x, y)
  void (*relu)(float* x, int n);
  void (*relu_squared)(float* x, int n);
  // Folded batch norm of a convolution: y [n] = (float(acc) * scale) * a + b, then ReLU if asked.
  void (*affine)(const std::int32_t* acc, int n, float scale, const float* a, const float* b, bool relu, float* y);
  // The same with a scale a channel: y [n] = (float(acc) * scale[i]) * a + b.
  void (*affine_rows)(const std::int32_t* acc, int n, const float* scale, const float* a, const float* b, bool relu,
                      float* y);
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
};
// The fastest table that passes its self-check; made at first use. Natively the environment variable
// BITMAR_KERNELS names a table to use instead.
const Chosen& chosen_kernels();
inline const Kernels& kernels() { return *chosen_kernels().kernels; }

}  // namespace bitmar
