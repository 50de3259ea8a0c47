// The reference: each operation written as its definition in kernels.h says.
#include <algorithm>
#include <cmath>

#include "kernels/exponential.h"
#include "kernels/kernels.h"

namespace bitmar {

namespace {

float combine(const float* s) { return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7])); }

void ternary_gemm(const PackedTernary& w, const std::int8_t* x, int m, std::int32_t* y, void*) {
  for (int i = 0; i < m; ++i) {
    for (int r = 0; r < w.rows(); ++r) {
      std::int32_t sum = 0;
      for (int c = 0; c < w.cols(); ++c) sum += x[i * w.cols() + c] * w.value(r, c);
      y[i * w.rows() + r] = sum;
    }
  }
}

void int8_gemm(const std::int8_t* w, const std::int8_t* x, int m, int n, int k, std::int32_t* y) {
  for (int i = 0; i < m; ++i) {
    for (int r = 0; r < n; ++r) {
      std::int32_t sum = 0;
      for (int c = 0; c < k; ++c) sum += x[i * k + c] * w[r * k + c];
      y[i * n + r] = sum;
    }
  }
}

void winograd_input(const std::int8_t* line, int pairs, int in, std::int8_t* u, std::int32_t* sums) {
  for (int p = 0; p < pairs; ++p) {
    const std::int8_t* d = line + 2 * p * in;
    for (int product = 0; product < WinogradFilter::kProducts; ++product) {
      std::int8_t* to = u + (product * pairs + p) * in;
      sums[product * pairs + p] = 0;
      for (int c = 0; c < in; ++c) {
        const int d0 = d[c], d1 = d[in + c], d2 = d[2 * in + c], d3 = d[3 * in + c];
        const int values[] = {d0 - d2, d1 + d2 - WinogradFilter::kLargest, d2 - d1, d1 - d3};
        to[c] = static_cast<std::int8_t>(values[product]);
        sums[product * pairs + p] += values[product];
      }
    }
  }
}

// Where the codes lie is WinogradFilter's; their meaning is here.
void winograd_gemm(const WinogradFilter& w, const std::int8_t* u, const std::int32_t*, int lines, int pairs,
                   std::int32_t* y) {
  constexpr int kTile = WinogradFilter::kTile, kStep = WinogradFilter::kStep;
  const int in = w.in(), out = w.out();
  for (int line = 0; line < lines; ++line) {
    for (int p = 0; p < pairs; ++p) {
      for (int row = 0; row < out; ++row) {
        std::int32_t s[WinogradFilter::kProducts] = {0, w.middle()[row], 0, 0};
        for (int product = 0; product < WinogradFilter::kProducts; ++product) {
          const std::uint8_t* codes = w.codes(row / kTile, product);
          for (int i = 0; i < WinogradFilter::kLines * in; ++i) {
            const int code = codes[(i / kStep * kTile + row % kTile) * kStep + i % kStep];
            const int place = ((line + i / in) * WinogradFilter::kProducts + product) * pairs + p;
            s[product] += (code - WinogradFilter::kCode) * u[place * in + i % in];
          }
        }
        std::int32_t* first = y + (line * 2 * pairs + 2 * p) * out + row;
        first[0] = s[0] + (s[1] + s[2]) / 2;
        first[out] = (s[1] - s[2]) / 2 - s[3];
      }
    }
  }
}

float quantize_row(const float* x, int n, std::int8_t* q) {
  float largest = 1e-5f;
  for (int i = 0; i < n; ++i) largest = std::max(largest, std::fabs(x[i]));
  const float scale = largest / 127.0f;
  for (int i = 0; i < n; ++i) q[i] = static_cast<std::int8_t>(round_to_even(x[i] / scale));
  return scale;
}

void dequantize(const std::int32_t* acc, int n, float scale, float* y) {
  for (int i = 0; i < n; ++i) y[i] = static_cast<float>(acc[i]) * scale;
}

float dot(const float* a, const float* b, int n) {
  float sums[8] = {};
  for (int i = 0; i < n; ++i) sums[i % 8] += a[i] * b[i];
  return combine(sums);
}

void rms_norm(const float* x, const float* weight, int n, float eps, float* y) {
  const float inverse = 1.0f / std::sqrt(dot(x, x, n) / static_cast<float>(n) + eps);
  for (int i = 0; i < n; ++i) y[i] = x[i] * inverse * weight[i];
}

void softmax(float* x, int n) {
  float largest = x[0];
  for (int i = 1; i < n; ++i) largest = std::max(largest, x[i]);
  float sums[8] = {};
  for (int i = 0; i < n; ++i) {
    x[i] = exponential(x[i] - largest);
    sums[i % 8] += x[i];
  }
  const float sum = combine(sums);
  for (int i = 0; i < n; ++i) x[i] /= sum;
}

void axpy(float a, const float* x, int n, float* y) {
  for (int i = 0; i < n; ++i) y[i] += a * x[i];
}

const float* row_of(const float* rows, const int* at, std::ptrdiff_t stride, int i) {
  return rows + (at ? at[i] : i) * stride;
}

void dot_rows(const float* x, const float* rows, const int* at, std::ptrdiff_t stride, int count, int n, float* y) {
  for (int i = 0; i < count; ++i) y[i] = dot(x, row_of(rows, at, stride, i), n);
}

void axpy_rows(const float* a, const float* rows, const int* at, std::ptrdiff_t stride, int count, int n, float* y) {
  for (int i = 0; i < count; ++i) axpy(a[i], row_of(rows, at, stride, i), n, y);
}

float dot_int8(const float* a, const std::int8_t* b, int n) {
  float sums[8] = {};
  for (int i = 0; i < n; ++i) sums[i % 8] += a[i] * static_cast<float>(b[i]);
  return combine(sums);
}

void axpy_int8(float a, const std::int8_t* x, int n, float* y) {
  for (int i = 0; i < n; ++i) y[i] += a * static_cast<float>(x[i]);
}

void add(const float* x, int n, float* y) {
  for (int i = 0; i < n; ++i) y[i] += x[i];
}

void maximum(const float* const* rows, int count, int n, float* y) {
  for (int i = 0; i < n; ++i) {
    float most = rows[0][i];
    for (int r = 1; r < count; ++r) most = rows[r][i] > most ? rows[r][i] : most;
    y[i] = most;
  }
}

void relu(float* x, int n) {
  for (int i = 0; i < n; ++i) x[i] = x[i] > 0.0f ? x[i] : 0.0f;
}

void relu_squared(float* x, int n) {
  for (int i = 0; i < n; ++i) x[i] = x[i] > 0.0f ? x[i] * x[i] : 0.0f;
}

void affine(const std::int32_t* acc, int n, float scale, const float* a, const float* b, bool rectify, float* y) {
  for (int i = 0; i < n; ++i) y[i] = static_cast<float>(acc[i]) * scale * a[i] + b[i];
  if (rectify) relu(y, n);
}

void affine_rows(const std::int32_t* acc, int n, const float* scale, const float* a, const float* b, bool rectify,
                 float* y) {
  for (int i = 0; i < n; ++i) y[i] = static_cast<float>(acc[i]) * scale[i] * a[i] + b[i];
  if (rectify) relu(y, n);
}

std::uint8_t weighted_mean(const std::uint8_t* from, std::ptrdiff_t step, const std::int32_t* weights, int taps) {
  std::int32_t sum = kWeightsHalf;
  for (int k = 0; k < taps; ++k) sum += from[k * step] * weights[k];
  return static_cast<std::uint8_t>(std::min(sum >> kWeightBits, 255));
}

void resample_row(const std::uint8_t* from, int channels, const std::int32_t* first, const std::int32_t* weights,
                  int taps, int n, std::uint8_t* to) {
  for (int i = 0; i < n; ++i) {
    for (int c = 0; c < 3; ++c)
      to[3 * i + c] = weighted_mean(from + first[i] * channels + c, channels, weights + i * taps, taps);
  }
}

void resample_column(const std::uint8_t* from, std::ptrdiff_t pitch, const std::int32_t* weights, int taps, int n,
                     std::uint8_t* to) {
  for (int i = 0; i < n; ++i) to[i] = weighted_mean(from + i, pitch, weights, taps);
}

}  // namespace

const Kernels& scalar_kernels() {
  static constexpr Kernels table{.name = "scalar",
                                 .order = PackedTernary::Order::rows,
                                 .ternary_gemm = ternary_gemm,
                                 .int8_gemm = int8_gemm,
                                 .winograd_input = winograd_input,
                                 .winograd_gemm = winograd_gemm,
                                 .quantize_row = quantize_row,
                                 .dequantize = dequantize,
                                 .rms_norm = rms_norm,
                                 .softmax = softmax,
                                 .dot = dot,
                                 .axpy = axpy,
                                 .dot_rows = dot_rows,
                                 .axpy_rows = axpy_rows,
                                 .dot_int8 = dot_int8,
                                 .axpy_int8 = axpy_int8,
                                 .add = add,
                                 .maximum = maximum,
                                 .relu = relu,
                                 .relu_squared = relu_squared,
                                 .affine = affine,
                                 .affine_rows = affine_rows,
                                 .resample_row = resample_row,
                                 .resample_column = resample_column};
  return table;
}

}  // namespace bitmar
