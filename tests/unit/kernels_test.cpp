// Every table of kernels against the scalar reference, bit for bit.
#include "kernels/kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/exponential.h"

namespace bitmar {
namespace {

class KernelsTest : public testing::TestWithParam<const Kernels*> {
 protected:
  const Kernels& kernels_ = *GetParam();
  const Kernels& reference_ = scalar_kernels();
  std::mt19937 random_{7};

  int below(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }
};

INSTANTIATE_TEST_SUITE_P(Tables, KernelsTest, testing::ValuesIn(available_kernels().begin(), available_kernels().end()),
                         [](const auto& table) { return std::string(table.param->name); });

// `size` elements that start `offset` elements past an allocation's start, with a guard behind them.
template <class T>
struct Misaligned {
  Misaligned(std::size_t size, int offset) : memory(size + offset + 1, T(77)), offset_(offset), size_(size) {}
  T* data() { return memory.data() + offset_; }
  bool guarded() const { return memory[offset_ + size_] == T(77); }
  std::vector<T> memory;
  int offset_;
  std::size_t size_;
};

std::vector<std::uint8_t> pack(const std::vector<int>& values, int rows, int cols) {
  std::vector<std::uint8_t> packed(static_cast<std::size_t>(rows) / 4 * cols);
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < cols; ++c) {
      packed[r % (rows / 4) * cols + c] |=
          static_cast<std::uint8_t>((values[r * cols + c] + 1) << (2 * (r / (rows / 4))));
    }
  }
  return packed;
}

TEST(PackedTernary, UnpacksTheHuggingFaceForm) {
  // 8 rows of 3: row i * 2 + r is in bits 2i of packed row r.
  std::vector<int> values(24);
  for (int i = 0; i < 24; ++i) values[i] = i % 3 - 1;
  for (const auto order : {PackedTernary::Order::rows, PackedTernary::Order::groups}) {
    const PackedTernary w(pack(values, 8, 3), 8, 3, order);
    EXPECT_TRUE(w.valid());
    for (int r = 0; r < 8; ++r) {
      for (int c = 0; c < 3; ++c) EXPECT_EQ(w.value(r, c), values[r * 3 + c]) << r << "," << c;
    }
  }
}

TEST(PackedTernary, TellsOfACodeWithoutMeaning) {
  const std::vector<std::uint8_t> packed{0x01, 0x03};
  EXPECT_FALSE(PackedTernary(packed, 4, 2, PackedTernary::Order::rows).valid());
}

struct Filling {
  const char* name;
  int x, weight;  // kRandom, kAlternating or the value of every element
};
constexpr int kRandom = 1000, kAlternating = 1001;

TEST_P(KernelsTest, TernaryProductsAreExact) {
  std::vector<int> sizes{1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 299, 300};
  for (int i = 0; i < 12; ++i) sizes.push_back(1 + below(300));
  const Filling fillings[] = {{"random", kRandom, kRandom},
                              {"extreme", 127, 1},
                              {"opposite", -127, -1},
                              {"negative", -127, 1},
                              {"alternating", kAlternating, 1},
                              {"alternating, random", kAlternating, kRandom},
                              {"zeros", 127, 0}};
  for (const int cols : sizes) {
    const int rows = 4 * (1 + below(75)), offset = below(64);
    // One row of x has a path of its own, and so have its remainders of two, four and eight.
    const int m = 1 + below(rows * cols > 10000 ? 4 : 35);
    for (const Filling& fill : fillings) {
      SCOPED_TRACE(testing::Message() << fill.name << " rows " << rows << " cols " << cols << " m " << m);
      std::vector<int> values(static_cast<std::size_t>(rows) * cols);
      for (auto& v : values) v = fill.weight == kRandom ? below(3) - 1 : fill.weight;
      const PackedTernary w(pack(values, rows, cols), rows, cols, kernels_.order);
      Misaligned<std::int8_t> x(static_cast<std::size_t>(m) * cols, offset);
      for (int i = 0; i < m * cols; ++i) {
        const int alternating = i % 2 ? 127 : -127;
        x.data()[i] = static_cast<std::int8_t>(fill.x == kRandom        ? below(255) - 127
                                               : fill.x == kAlternating ? alternating
                                                                        : fill.x);
      }
      Misaligned<std::byte> scratch(w.scratch_bytes(m), 0);
      Misaligned<std::int32_t> got(static_cast<std::size_t>(m) * rows, offset % 16);
      kernels_.ternary_gemm(w, x.data(), m, got.data(), scratch.data());
      for (int i = 0; i < m; ++i) {
        const std::int8_t* row = x.data() + i * cols;
        for (int r = 0; r < rows; ++r) {
          const int wanted = std::inner_product(row, row + cols, values.data() + r * cols, 0);
          ASSERT_EQ(got.data()[i * rows + r], wanted) << "row of x " << i << ", of w " << r;
        }
      }
      EXPECT_TRUE(scratch.guarded() && got.guarded());
    }
  }
}

TEST_P(KernelsTest, TernaryProductsOfManyRowsAreExact) {
  // More rows of x than are done at once, with every remainder.
  constexpr int kRows = 20, kCols = 33;
  std::vector<int> values(kRows * kCols);
  for (auto& v : values) v = below(3) - 1;
  const PackedTernary w(pack(values, kRows, kCols), kRows, kCols, kernels_.order);
  for (int m = 1; m <= 140; m += m < 20 ? 1 : 11) {
    std::vector<std::int8_t> x(static_cast<std::size_t>(m) * kCols);
    for (auto& v : x) v = static_cast<std::int8_t>(below(255) - 127);
    Misaligned<std::byte> scratch(w.scratch_bytes(m), 0);
    std::vector<std::int32_t> got(static_cast<std::size_t>(m) * kRows), wanted(got.size());
    kernels_.ternary_gemm(w, x.data(), m, got.data(), scratch.data());
    reference_.ternary_gemm(w, x.data(), m, wanted.data(), scratch.data());
    EXPECT_EQ(got, wanted) << "m " << m;
    EXPECT_TRUE(scratch.guarded());
  }
}

TEST_P(KernelsTest, TernaryProductsAtEveryMisalignment) {
  constexpr int kRows = 84, kCols = 93;
  std::vector<int> values(kRows * kCols);
  for (auto& v : values) v = below(3) - 1;
  const PackedTernary w(pack(values, kRows, kCols), kRows, kCols, kernels_.order);
  for (const int m : {1, 15}) {
    std::vector<std::int8_t> x(static_cast<std::size_t>(m) * kCols);
    for (auto& v : x) v = static_cast<std::int8_t>(below(255) - 127);
    std::vector<std::int32_t> wanted(static_cast<std::size_t>(m) * kRows);
    reference_.ternary_gemm(w, x.data(), m, wanted.data(), nullptr);
    for (int offset = 0; offset < 64; ++offset) {
      Misaligned<std::int8_t> moved(x.size(), offset);
      std::copy(x.begin(), x.end(), moved.data());
      Misaligned<std::byte> scratch(w.scratch_bytes(m), 8 * (offset % 8));
      Misaligned<std::int32_t> got(wanted.size(), offset % 16);
      kernels_.ternary_gemm(w, moved.data(), m, got.data(), scratch.data());
      EXPECT_TRUE(std::equal(wanted.begin(), wanted.end(), got.data())) << "m " << m << " offset " << offset;
      EXPECT_TRUE(scratch.guarded() && got.guarded());
    }
  }
}

TEST_P(KernelsTest, TernaryProductsOfLongRowsDoNotOverflow) {
  // More columns than a partial sum of any kernel can hold, in every path: one row of x, and several. AVX-512's
  // hold half a million.
  struct Case {
    int m, rows, cols;
  };
  for (const auto& [m, rows, cols] :
       {Case{1, 32, 64 * 70 + 5}, Case{3, 32, 64 * 70 + 5}, Case{16, 32, 64 * 70 + 5}, Case{1, 4, 16 * 33100 + 5}}) {
    const std::vector<int> ones(static_cast<std::size_t>(rows) * cols, 1);
    const PackedTernary w(pack(ones, rows, cols), rows, cols, kernels_.order);
    for (const int value : {127, -127}) {
      const std::vector<std::int8_t> x(static_cast<std::size_t>(m) * cols, static_cast<std::int8_t>(value));
      std::vector<std::byte> scratch(w.scratch_bytes(m));
      std::vector<std::int32_t> y(static_cast<std::size_t>(m) * rows);
      kernels_.ternary_gemm(w, x.data(), m, y.data(), scratch.data());
      EXPECT_EQ(y, std::vector<std::int32_t>(y.size(), value * cols)) << "m " << m << " cols " << cols;
    }
  }
}

// Against the convolution itself: every size, and values that fill the sums of two inputs and of three weights.
TEST_P(KernelsTest, WinogradConvolutionsAreExact) {
  if (!kernels_.winograd_gemm) GTEST_SKIP() << kernels_.name << " has none";
  constexpr int kTaps = 9, kZigzag = 1000;  // 1, -1, 1 along a line
  const Filling fillings[] = {{"random", kRandom, kRandom},
                              {"extreme", 127, 1},
                              {"negative", 127, -1},
                              {"zigzag", 127, kZigzag},
                              {"alternating", kAlternating, kZigzag},
                              {"alternating, random", kAlternating, kRandom}};
  for (int round = 0; round < 40; ++round) {
    const int in = 16 * (1 + below(round % 8 ? 4 : 22)), out = 16 * (1 + below(5)), lines = 1 + below(9),
              pairs = 1 + below(round % 4 ? 9 : 40), offset = below(64), line = (2 * pairs + 2) * in;
    for (const Filling& fill : fillings) {
      SCOPED_TRACE(testing::Message() << fill.name << " in " << in << " out " << out << " lines " << lines << " pairs "
                                      << pairs << " offset " << offset);
      std::vector<int> values(static_cast<std::size_t>(out) * kTaps * in);
      for (std::size_t i = 0; i < values.size(); ++i) {
        const int zigzag = i / in % 3 == 1 ? -1 : 1;
        values[i] = fill.weight == kRandom ? below(3) - 1 : fill.weight == kZigzag ? zigzag : fill.weight;
      }
      const WinogradFilter w(PackedTernary(pack(values, out, kTaps * in), out, kTaps * in, kernels_.order));
      Misaligned<std::int8_t> x(static_cast<std::size_t>(lines + 2) * line, offset);
      for (int i = 0; i < (lines + 2) * line; ++i) {
        const int alternating = i / in % 2 ? 127 : 0;
        x.data()[i] = static_cast<std::int8_t>(fill.x == kRandom        ? below(128)
                                               : fill.x == kAlternating ? alternating
                                                                        : fill.x);
      }
      const int sums_of_line = WinogradFilter::kProducts * pairs;
      Misaligned<std::int8_t> u(static_cast<std::size_t>(lines + 2) * sums_of_line * in, offset);
      Misaligned<std::int32_t> sums(static_cast<std::size_t>(lines + 2) * sums_of_line, offset % 16);
      Misaligned<std::int32_t> got(static_cast<std::size_t>(lines) * 2 * pairs * out, offset % 16);
      for (int y = 0; y < lines + 2; ++y) {
        kernels_.winograd_input(x.data() + y * line, pairs, in, u.data() + y * sums_of_line * in,
                                sums.data() + y * sums_of_line);
      }
      kernels_.winograd_gemm(w, u.data(), sums.data(), lines, pairs, got.data());
      for (int i = 0; i < lines * 2 * pairs; ++i) {
        const int pixel = i % (2 * pairs);
        const std::int8_t* corner = x.data() + i / (2 * pairs) * line + pixel * in;
        for (int r = 0; r < out; r += 1 + below(5)) {
          int wanted = 0;
          for (int ky = 0; ky < 3; ++ky) {
            const int* row = values.data() + (r * 3 + ky) * 3 * in;
            wanted = std::inner_product(row, row + 3 * in, corner + ky * line, wanted);
          }
          ASSERT_EQ(got.data()[i * out + r], wanted) << "pixel " << i << ", output " << r;
        }
      }
      EXPECT_TRUE(u.guarded() && sums.guarded() && got.guarded());
    }
  }
}

TEST_P(KernelsTest, Int8ProductsAreExact) {
  for (int k = 1; k <= 300; k += k < 70 ? 1 : 13) {
    for (const int fill : {kRandom, 127, -128}) {
      const int m = 1 + below(k % 2 ? 4 : 20), n = 1 + below(k % 3 ? 9 : 40);
      Misaligned<std::int8_t> w(static_cast<std::size_t>(n) * k, below(16)),
          x(static_cast<std::size_t>(m) * k, below(16));
      for (int i = 0; i < n * k; ++i) w.data()[i] = static_cast<std::int8_t>(fill == kRandom ? below(255) - 127 : fill);
      for (int i = 0; i < m * k; ++i) x.data()[i] = static_cast<std::int8_t>(fill == kRandom ? below(256) - 128 : -128);
      Misaligned<std::int32_t> got(static_cast<std::size_t>(m) * n, 1);
      std::vector<std::int32_t> wanted(static_cast<std::size_t>(m) * n);
      kernels_.int8_gemm(w.data(), x.data(), m, n, k, got.data());
      reference_.int8_gemm(w.data(), x.data(), m, n, k, wanted.data());
      for (int i = 0; i < m * n; ++i) ASSERT_EQ(got.data()[i], wanted[i]) << "k " << k << " at " << i;
      EXPECT_TRUE(got.guarded());
    }
  }
}

// Runs one float operation of both tables on the same inputs and compares every bit of every output.
TEST_P(KernelsTest, FloatOperationsHaveTheReferencesBits) {
  std::uniform_real_distribution<float> wide(-30.0f, 30.0f);
  for (int n = 1; n <= 300; n += n < 40 ? 1 : 17) {
    for (int offset = 0; offset < 4; ++offset) {
      SCOPED_TRACE(testing::Message() << "n " << n << " offset " << offset);
      Misaligned<float> a(n, offset), b(n, (offset + 1) % 4), c(n, offset);
      Misaligned<std::int32_t> acc(n, offset);
      for (int i = 0; i < n; ++i) {
        a.data()[i] = wide(random_), b.data()[i] = wide(random_), c.data()[i] = wide(random_);
        acc.data()[i] = static_cast<std::int32_t>(random_()) >> (i % 20);
      }
      if (n > 4) a.data()[below(n)] = 0.0f, b.data()[below(n)] = -0.0f;
      const auto compare = [&](const char* name, auto run) {
        std::vector<float> wanted(n + 1), got(n + 1);
        Misaligned<float> y(n, offset);
        std::memcpy(y.data(), c.data(), n * sizeof(float));
        wanted[n] = run(reference_, y.data());
        std::memcpy(wanted.data(), y.data(), n * sizeof(float));
        std::memcpy(y.data(), c.data(), n * sizeof(float));
        got[n] = run(kernels_, y.data());
        std::memcpy(got.data(), y.data(), n * sizeof(float));
        EXPECT_EQ(std::memcmp(wanted.data(), got.data(), (n + 1) * sizeof(float)), 0) << name;
        EXPECT_TRUE(y.guarded()) << name;
      };
      compare("dot", [&](const Kernels& k, float*) { return k.dot(a.data(), b.data(), n); });
      compare("dequantize", [&](const Kernels& k, float* y) { return k.dequantize(acc.data(), n, 0.123f, y), 0.0f; });
      compare("rms_norm",
              [&](const Kernels& k, float* y) { return k.rms_norm(a.data(), b.data(), n, 1e-5f, y), 0.0f; });
      compare("rms_norm in place",
              [&](const Kernels& k, float* y) { return k.rms_norm(y, b.data(), n, 1e-5f, y), 0.0f; });
      compare("softmax", [&](const Kernels& k, float* y) { return k.softmax(y, n), 0.0f; });
      std::vector<std::int8_t> bytes(n + 3);
      for (std::int8_t& byte : bytes) byte = static_cast<std::int8_t>(below(255) - 127);
      const std::int8_t* b8 = bytes.data() + offset % 4;
      compare("dot_int8", [&](const Kernels& k, float*) { return k.dot_int8(a.data(), b8, n); });
      compare("axpy_int8", [&](const Kernels& k, float* y) { return k.axpy_int8(0.7f, b8, n, y), 0.0f; });
      compare("axpy", [&](const Kernels& k, float* y) { return k.axpy(0.7f, a.data(), n, y), 0.0f; });
      compare("add", [&](const Kernels& k, float* y) { return k.add(a.data(), n, y), 0.0f; });
      const float* const rows[] = {c.data(), a.data(), b.data()};
      for (const int count : {1, 2, 3}) {
        compare("maximum", [&](const Kernels& k, float* y) { return k.maximum(rows, count, n, y), 0.0f; });
      }
      compare("relu", [&](const Kernels& k, float* y) { return k.relu(y, n), 0.0f; });
      compare("relu_squared", [&](const Kernels& k, float* y) { return k.relu_squared(y, n), 0.0f; });
      for (const bool rectify : {false, true}) {
        compare("affine", [&](const Kernels& k, float* y) {
          return k.affine(acc.data(), n, 0.3f, a.data(), b.data(), rectify, y), 0.0f;
        });
        compare("affine_rows", [&](const Kernels& k, float* y) {
          return k.affine_rows(acc.data(), n, c.data(), a.data(), b.data(), rectify, y), 0.0f;
        });
      }
    }
  }
}

TEST_P(KernelsTest, AttentionHasTheReferencesBits) {
  std::uniform_real_distribution<float> wide(-3.0f, 3.0f);
  for (int n = 1; n <= 80; n += n < 40 ? 1 : 8) {
    for (const int count : {1, 2, 3, 4, 5, 8, 31}) {
      const int offset = below(4), stride = n + below(7);
      Misaligned<float> x(n, offset), rows(static_cast<std::size_t>(count + 2) * stride, offset), a(count, 0);
      for (int i = 0; i < n; ++i) x.data()[i] = wide(random_);
      for (int i = 0; i < (count + 2) * stride; ++i) rows.data()[i] = wide(random_);
      for (int i = 0; i < count; ++i) a.data()[i] = wide(random_);
      std::vector<int> at(count);
      for (int& index : at) index = below(count + 2);
      for (const int* index : {static_cast<const int*>(nullptr), static_cast<const int*>(at.data())}) {
        SCOPED_TRACE(testing::Message() << "n " << n << " count " << count << (index ? " by index" : ""));
        Misaligned<float> got(count, offset), wanted(count, 0), y(n, offset), sums(n, 0);
        kernels_.dot_rows(x.data(), rows.data(), index, stride, count, n, got.data());
        reference_.dot_rows(x.data(), rows.data(), index, stride, count, n, wanted.data());
        EXPECT_EQ(std::memcmp(got.data(), wanted.data(), count * sizeof(float)), 0);
        for (int i = 0; i < n; ++i) y.data()[i] = sums.data()[i] = x.data()[i];
        kernels_.axpy_rows(a.data(), rows.data(), index, stride, count, n, y.data());
        reference_.axpy_rows(a.data(), rows.data(), index, stride, count, n, sums.data());
        ASSERT_EQ(std::memcmp(y.data(), sums.data(), n * sizeof(float)), 0);
        EXPECT_TRUE(got.guarded() && y.guarded());
      }
    }
  }
}

TEST_P(KernelsTest, QuantisedRowsHaveTheReferencesBits) {
  std::normal_distribution<float> normal(0.0f, 3.0f);
  for (int n = 1; n <= 300; ++n) {
    Misaligned<float> x(n, n % 4);
    for (int i = 0; i < n; ++i) x.data()[i] = normal(random_);
    if (n % 7 == 0) {  // ties: halves of the scale
      x.data()[0] = 127.0f;
      for (int i = 1; i < n; ++i) x.data()[i] = static_cast<float>(below(253) - 126) + 0.5f;
    }
    Misaligned<std::int8_t> got(n, n % 16), wanted(n, 0);
    const float scale = kernels_.quantize_row(x.data(), n, got.data());
    EXPECT_EQ(scale, reference_.quantize_row(x.data(), n, wanted.data()));
    ASSERT_EQ(std::memcmp(got.data(), wanted.data(), n), 0) << n;
    EXPECT_TRUE(got.guarded());
  }
}

TEST_P(KernelsTest, ResampledRowsHaveTheReferencesBits) {
  for (const int channels : {3, 4}) {
    for (int in = 1; in <= 80; in += in < 20 ? 1 : 7) {
      const int offset = below(16), n = 1 + below(40), taps = 1 + below(std::min(in, 24));
      // Nothing may be read beyond the last pixel: an allocation that ends there.
      std::vector<std::uint8_t> from(static_cast<std::size_t>(in) * channels + offset);
      for (auto& v : from) v = static_cast<std::uint8_t>(random_());
      std::vector<std::int32_t> first(n), weights(static_cast<std::size_t>(n) * taps);
      for (auto& v : first) v = below(in - taps + 1);
      first[below(n)] = in - taps;
      // Sums from below one half to above 255.
      for (auto& v : weights) v = below(2 * (1 << kWeightBits) / taps);
      Misaligned<std::uint8_t> got(3 * n, offset), wanted(3 * n, 0);
      kernels_.resample_row(from.data() + offset, channels, first.data(), weights.data(), taps, n, got.data());
      reference_.resample_row(from.data() + offset, channels, first.data(), weights.data(), taps, n, wanted.data());
      ASSERT_EQ(std::memcmp(got.data(), wanted.data(), 3 * n), 0)
          << channels << " channels, in " << in << ", taps " << taps;
      EXPECT_TRUE(got.guarded());
    }
  }
}

TEST_P(KernelsTest, ResampledColumnsHaveTheReferencesBits) {
  for (int n = 1; n <= 300; n += n < 40 ? 1 : 17) {
    const int offset = n % 16, taps = 1 + below(24), pitch = n + below(5);
    std::vector<std::uint8_t> from(static_cast<std::size_t>(taps - 1) * pitch + n + offset);
    for (auto& v : from) v = static_cast<std::uint8_t>(n % 3 == 0 ? 255 : random_());
    std::vector<std::int32_t> weights(taps);
    for (auto& v : weights) v = below(2 * (1 << kWeightBits) / taps);
    Misaligned<std::uint8_t> got(n, offset), wanted(n, 0);
    kernels_.resample_column(from.data() + offset, pitch, weights.data(), taps, n, got.data());
    reference_.resample_column(from.data() + offset, pitch, weights.data(), taps, n, wanted.data());
    ASSERT_EQ(std::memcmp(got.data(), wanted.data(), n), 0) << "n " << n << ", taps " << taps;
    EXPECT_TRUE(got.guarded());
  }
}

TEST(Quantisation, RoundsHalvesToEvenAndSurvivesZeros) {
  const float x[] = {127.0f, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -127.0f};
  std::int8_t q[7];
  EXPECT_EQ(scalar_kernels().quantize_row(x, 7, q), 1.0f);
  EXPECT_EQ(std::vector<int>(q, q + 7), (std::vector<int>{127, 0, 2, 2, 0, -2, -127}));
  const float zeros[3] = {};
  EXPECT_EQ(scalar_kernels().quantize_row(zeros, 3, q), 1e-5f / 127.0f);
  EXPECT_EQ(q[0], 0);
}

TEST(Exponential, IsWithinTwoUnitsInTheLastPlace) {
  for (float x = -86.9f; x < 87.9f; x += 0.00731f) {
    const double wanted = std::exp(static_cast<double>(x));
    const float nearest = static_cast<float>(wanted);
    const double unit = std::nextafter(nearest, std::numeric_limits<float>::infinity()) - nearest;
    ASSERT_LE(std::fabs(exponential(x) - wanted), 2 * unit) << x;
  }
  EXPECT_EQ(exponential(0.0f), 1.0f);
  EXPECT_EQ(exponential(-1000.0f), 0.0f);
  EXPECT_EQ(exponential(1000.0f), exponential(88.0f));
}

TEST_P(KernelsTest, PassesTheSelfCheck) { EXPECT_TRUE(passes_self_check(kernels_)); }

TEST(SelfCheck, RejectsATableThatIsWrong) {
  Kernels wrong = scalar_kernels();
  wrong.ternary_gemm = [](const PackedTernary& w, const std::int8_t* x, int m, std::int32_t* y, void* scratch) {
    scalar_kernels().ternary_gemm(w, x, m, y, scratch);
    ++y[m * w.rows() - 1];
  };
  EXPECT_FALSE(passes_self_check(wrong));
  // One row of x and several have paths of their own.
  wrong.ternary_gemm = [](const PackedTernary& w, const std::int8_t* x, int m, std::int32_t* y, void* scratch) {
    scalar_kernels().ternary_gemm(w, x, m, y, scratch);
    if (m == 1) --y[0];
  };
  EXPECT_FALSE(passes_self_check(wrong));
  wrong.ternary_gemm = [](const PackedTernary& w, const std::int8_t* x, int m, std::int32_t* y, void* scratch) {
    scalar_kernels().ternary_gemm(w, x, m, y, scratch);
    if (m > 5) --y[0];
  };
  EXPECT_FALSE(passes_self_check(wrong));
  wrong = scalar_kernels();
  wrong.resample_column = [](const std::uint8_t* from, std::ptrdiff_t pitch, const std::int32_t* weights, int taps,
                             int n, std::uint8_t* to) {
    scalar_kernels().resample_column(from, pitch, weights, taps - 1, n, to);
  };
  EXPECT_FALSE(passes_self_check(wrong));
  wrong = scalar_kernels();
  wrong.dot = [](const float* a, const float* b, int n) {
    float sum = 0;  // another order
    for (int i = 0; i < n; ++i) sum += a[i] * b[i];
    return sum;
  };
  EXPECT_FALSE(passes_self_check(wrong));
}

TEST(Dispatch, FallsBackPastATableThatIsWrong) {
  Kernels wrong = scalar_kernels(), right = scalar_kernels();
  wrong.name = "wrong";
  wrong.axpy = [](float, const float*, int, float*) {};
  right.name = "right";
  const Kernels* const candidates[] = {&wrong, &right, &scalar_kernels()};
  EXPECT_STREQ(choose_kernels(candidates).kernels->name, "right");
  EXPECT_STREQ(choose_kernels(candidates).rejected, "wrong");
  EXPECT_STREQ(choose_kernels(candidates, "wrong").kernels->name, "scalar");
  EXPECT_STREQ(choose_kernels(candidates, "wrong").rejected, "wrong");
  EXPECT_STREQ(choose_kernels(candidates, "scalar").kernels->name, "scalar");
  EXPECT_EQ(choose_kernels(candidates, "scalar").rejected, nullptr);
  EXPECT_STREQ(choose_kernels(candidates, "").kernels->name, "right");
  EXPECT_TRUE(choose_kernels(candidates, "").known);
  EXPECT_TRUE(choose_kernels(candidates, "wrong").known);
  EXPECT_FALSE(choose_kernels(candidates, "avx1024").known);
}

TEST(Dispatch, ChoosesTheFirstThatPasses) {
  EXPECT_STREQ(available_kernels().back()->name, "scalar");
  EXPECT_EQ(chosen_kernels().rejected, nullptr);
#if defined(__wasm_relaxed_simd__)
  EXPECT_EQ(std::string_view(kernels().name).substr(0, 8), "relaxed_");
#elif defined(__wasm_simd128__)
  EXPECT_STREQ(kernels().name, "simd128");
#endif
}

}  // namespace
}  // namespace bitmar
