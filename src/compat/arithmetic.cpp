#include "compat/arithmetic.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

#include "runtime/elementary.h"

namespace bitmar::compat {

namespace {

constexpr double kEps = 1e-5;     // of every norm
constexpr float kLargest = 1e6f;  // beyond it activations are cut
constexpr float kNarrow = 1e-8f;  // a tensor whose numbers lie closer together keeps them
constexpr int kRows = 32;         // of one product: enough to keep the weights busy
constexpr float kLevels = 255;    // steps between the smallest code and the largest

float clamped(double x) { return static_cast<float>(std::clamp<double>(x, -kLargest, kLargest)); }

// Step by step in float32, as the authors' code: a code on the edge falls to their side wherever x is theirs.
struct Quantiser {
  explicit Quantiser(const Matrix& x) {
    const auto [smallest, largest] = std::ranges::minmax(x.values);
    low = clamped(smallest);
    range = clamped(largest) - low;
    if (narrow()) return;
    scale = range / kLevels;
    zero = std::clamp(std::nearbyint(-low / scale), 0.0f, kLevels);
  }
  bool narrow() const { return range < kNarrow; }
  int code(double x) const {
    return static_cast<int>(std::clamp(std::nearbyint(clamped(x) / scale + zero), 0.0f, kLevels));
  }

  float low, range, scale = 0, zero = 0;
};

// Of a tensor that is almost constant: the numbers as they are.
double plain_product(const Linear& layer, const double* x, int row) {
  double sum = 0;
  for (int i = 0; i < layer.in; ++i) sum += clamped(x[i]) * static_cast<double>(layer.weight.value(row, i));
  return sum;
}

}  // namespace

Matrix linear(const Kernels& kernels, const Linear& layer, const Matrix& x, int first) {
  Matrix y(x.rows - first, layer.out);
  const Quantiser quantiser(x);
  const auto finish = [&](int row, auto&& product) {
    double* const to = y.row(row);
    for (int i = 0; i < layer.out; ++i)
      to[i] = product(i) * layer.scale + (layer.bias.empty() ? 0.0 : static_cast<double>(layer.bias[i]));
  };
  if (quantiser.narrow()) {
    for (int row = 0; row < y.rows; ++row)
      finish(row, [&](int i) { return plain_product(layer, x.row(first + row), i); });
    return y;
  }
  const int padded = layer.weight.rows();
  std::vector<std::int8_t> halves(static_cast<std::size_t>(2) * kRows * layer.in);
  std::vector<std::int32_t> products(static_cast<std::size_t>(2) * kRows * padded);
  std::vector<std::byte> scratch(layer.weight.scratch_bytes(2 * kRows));
  const auto zero = static_cast<std::int32_t>(quantiser.zero);
  for (int begin = 0; begin < y.rows; begin += kRows) {
    // Codes are 0..255 and the kernels take -127..127: code = 2 * high + low, rows of highs before rows of lows.
    const int rows = std::min(kRows, y.rows - begin);
    const int count = rows * layer.in;
    const double* const from = x.row(first + begin);
    for (int i = 0; i < count; ++i) {
      const int code = quantiser.code(from[i]);
      halves[i] = static_cast<std::int8_t>(code / 2);
      halves[count + i] = static_cast<std::int8_t>(code % 2);
    }
    kernels.ternary_gemm(layer.weight, halves.data(), 2 * rows, products.data(), scratch.data());
    for (int row = 0; row < rows; ++row) {
      const std::int32_t* const high = products.data() + static_cast<std::size_t>(row) * padded;
      const std::int32_t* const low = products.data() + static_cast<std::size_t>(rows + row) * padded;
      finish(begin + row, [&](int i) {
        return static_cast<double>(quantiser.scale) * (2 * high[i] + low[i] - zero * layer.sums[i]);
      });
    }
  }
  return y;
}

Matrix layer_norm(const Norm& norm, const Matrix& x) {
  Matrix y(x.rows, x.columns);
  const int n = x.columns;
  for (int row = 0; row < x.rows; ++row) {
    const double* const from = x.row(row);
    const double mean = std::accumulate(from, from + n, 0.0) / n;
    double squares = 0;
    for (int i = 0; i < n; ++i) squares += (from[i] - mean) * (from[i] - mean);
    const double inverse = 1 / std::sqrt(squares / n + kEps);
    for (int i = 0; i < n; ++i)
      y.row(row)[i] = (from[i] - mean) * inverse * static_cast<double>(norm.weight[i]) + norm.bias[i];
  }
  return y;
}

void add(const Matrix& x, Matrix& y) {
  for (int row = 0; row < y.rows; ++row) {
    const double* const from = x.row(x.rows == 1 ? 0 : row);
    for (int i = 0; i < y.columns; ++i) y.row(row)[i] += from[i];
  }
}

double erf(double x) {
  constexpr double kFlat = 6, kTwoOverRootPi = 1.1283791670955126;
  if (x > kFlat) return 1;
  if (x < -kFlat) return -1;
  // 2 / sqrt(pi) * e^(-x^2) * sum of 2^n x^(2n + 1) / (1 * 3 * ... * (2n + 1)): no term has another sign.
  double term = x, sum = x;
  for (int n = 1; std::fabs(term) > 1e-17 * std::fabs(sum); ++n) sum += term *= 2 * x * x / (2 * n + 1);
  return kTwoOverRootPi * natural_exp(-x * x) * sum;
}

void gelu(Matrix& x) {
  constexpr double kRootHalf = 0.7071067811865476;
  for (double& v : x.values) v *= 0.5 * (1 + erf(v * kRootHalf));
}

void softmax(std::span<double> x) {
  const double largest = *std::ranges::max_element(x);
  double sum = 0;
  for (double& v : x) sum += v = natural_exp(v - largest);
  for (double& v : x) v /= sum;
}

double log_sum_exp(std::span<const double> x) {
  const double largest = *std::ranges::max_element(x);
  double sum = 0;
  for (const double v : x) sum += natural_exp(v - largest);
  return largest + natural_log(sum);
}

}  // namespace bitmar::compat
