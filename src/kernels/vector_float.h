// Float kernels on eight lanes, for every instruction set that the compiler can vectorise for: two
// registers of simd128, one of AVX2. Everything is in an anonymous namespace, because the same source
// becomes different machine code in each file that includes it.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/exponential.h"
#include "kernels/kernels.h"
#include "kernels/resample.h"
#include "kernels/shuffle.h"

namespace bitmar {
namespace {

constexpr int kLanes = 8;
using Floats = float __attribute__((vector_size(32)));
using Ints = std::int32_t __attribute__((vector_size(32)));
using Bytes = std::int8_t __attribute__((vector_size(8)));
using AllBytes = std::int8_t __attribute__((vector_size(32)));

inline Floats load(const float* p) {
  Floats v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline Ints load(const std::int32_t* p) {
  Ints v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline Floats load(const std::int8_t* p) {
  Bytes v;
  std::memcpy(&v, p, sizeof v);
  return __builtin_convertvector(__builtin_convertvector(v, Ints), Floats);
}
inline void store(float* p, const Floats& v) { std::memcpy(p, &v, sizeof v); }

// The last n % 8 elements; lanes beyond them hold `fill`.
inline Floats load_tail(const float* p, int n, float fill = 0.0f) {
  float lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) lanes[i] = i < n ? p[i] : fill;
  return load(lanes);
}
inline void store_tail(float* p, const Floats& v, int n) {
  for (int i = 0; i < n; ++i) p[i] = v[i];
}

inline float combine(const Floats& s) { return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7])); }
inline Floats larger(const Floats& a, const Floats& b) { return a > b ? a : b; }
inline Floats to_float(const Ints& v) { return __builtin_convertvector(v, Floats); }

inline Floats exponential(const Floats& value) {
  using namespace exp_constants;
  const Floats x = value > kHighest ? Floats{} + kHighest : value;
  const Floats shifted = x * kLog2E + kRoundingShift;
  const Floats n = shifted - kRoundingShift;
  const Floats r = (x - n * kLn2High) - n * kLn2Low;
  Floats p = Floats{} + kTaylor[0];
  for (int i = 1; i < 6; ++i) p = p * r + kTaylor[i];
  p = (p * r + 1.0f) * r + 1.0f;
  // The lowest bits of `shifted` are n as an integer. Below the lowest input n is meaningless, and so is the
  // power; it is not used there.
  Ints bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + 127) << 23;
  Floats power;
  std::memcpy(&power, &bits, sizeof power);
  return x < kLowest ? Floats{} : p * power;
}

// y[i] = f(i-th inputs) for whole vectors and then the tail; `f(offset, loader)` returns a vector.
template <class F>
inline void map(int n, float* y, F f) {
  int i = 0;
  const auto whole = [](const auto* p) { return load(p); };
  for (; i + kLanes <= n; i += kLanes) store(y + i, f(i, whole));
  if (i == n) return;
  const int rest = n - i;
  const auto part = [rest](const auto* p) {
    std::remove_cvref_t<decltype(*p)> lanes[kLanes] = {};
    std::memcpy(lanes, p, rest * sizeof *p);
    return load(lanes);
  };
  store_tail(y + i, f(i, part), rest);
}

float quantize_row(const float* x, int n, std::int8_t* q) {
  Floats most = Floats{} + 1e-5f;
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Floats v = load(x + i);
    most = larger(v, larger(-v, most));
  }
  const Floats last = load_tail(x + i, n - i);
  most = larger(last, larger(-last, most));
  float largest = most[0];
  for (int lane = 1; lane < kLanes; ++lane) largest = most[lane] > largest ? most[lane] : largest;
  const float scale = largest / 127.0f;
  for (i = 0; i + kLanes <= n; i += kLanes) {
    // Shifted, the lowest byte of each float is the integer.
    const Floats shifted = load(x + i) / scale + kRoundingShift;
    AllBytes bytes;
    std::memcpy(&bytes, &shifted, sizeof bytes);
    const Bytes lowest = shuffle<0, 4, 8, 12, 16, 20, 24, 28>(bytes, bytes);
    std::memcpy(q + i, &lowest, sizeof lowest);
  }
  for (; i < n; ++i) q[i] = static_cast<std::int8_t>(round_to_even(x[i] / scale));
  return scale;
}

void dequantize(const std::int32_t* acc, int n, float scale, float* y) {
  map(n, y, [&](int i, auto in) { return to_float(in(acc + i)) * scale; });
}

float dot(const float* a, const float* b, int n) {
  Floats sums{};
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) sums += load(a + i) * load(b + i);
  if (i < n) sums += load_tail(a + i, n - i) * load_tail(b + i, n - i);
  return combine(sums);
}

void rms_norm(const float* x, const float* weight, int n, float eps, float* y) {
  const float inverse = 1.0f / std::sqrt(dot(x, x, n) / static_cast<float>(n) + eps);
  map(n, y, [&](int i, auto in) { return in(x + i) * inverse * in(weight + i); });
}

void softmax(float* x, int n) {
  Floats most = Floats{} + x[0];
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) most = larger(load(x + i), most);
  most = larger(load_tail(x + i, n - i, x[0]), most);
  float largest = most[0];
  for (int lane = 1; lane < kLanes; ++lane) largest = most[lane] > largest ? most[lane] : largest;
  Floats sums{};
  for (i = 0; i + kLanes <= n; i += kLanes) {
    const Floats e = exponential(load(x + i) - largest);
    store(x + i, e);
    sums += e;
  }
  if (i < n) {
    const Floats e = exponential(load_tail(x + i, n - i, largest) - largest);
    store_tail(x + i, e, n - i);
    sums += load_tail(x + i, n - i);
  }
  const float sum = combine(sums);
  map(n, x, [&](int at, auto in) { return in(x + at) / sum; });
}

void axpy(float a, const float* x, int n, float* y) {
  map(n, y, [&](int i, auto in) { return in(y + i) + a * in(x + i); });
}

inline const float* row_of(const float* rows, const int* at, std::ptrdiff_t stride, int i) {
  return rows + (at ? at[i] : i) * stride;
}

// Four rows at once share the loads of x, and are combined together.
void dot_rows(const float* x, const float* rows, const int* at, std::ptrdiff_t stride, int count, int n, float* y) {
  using Half = float __attribute__((vector_size(16)));
  const auto halves = [](const Floats& s) {  // s0 + s4, s1 + s5, s2 + s6, s3 + s7
    return shuffle<0, 1, 2, 3>(s, s) + shuffle<4, 5, 6, 7>(s, s);
  };
  int i = 0;
  for (; n % kLanes == 0 && i + 4 <= count; i += 4) {
    const float* row[4];
    for (int r = 0; r < 4; ++r) row[r] = row_of(rows, at, stride, i + r);
    Floats sums[4] = {};
    for (int k = 0; k < n; k += kLanes) {
      const Floats v = load(x + k);
      for (int r = 0; r < 4; ++r) sums[r] += v * load(row[r] + k);
    }
    Half t[4];
    for (int r = 0; r < 4; ++r) t[r] = halves(sums[r]);
    // Transposed: the first sums of four rows, their second ones, and so on.
    const Half a = shuffle<0, 4, 1, 5>(t[0], t[1]), b = shuffle<0, 4, 1, 5>(t[2], t[3]);
    const Half c = shuffle<2, 6, 3, 7>(t[0], t[1]), d = shuffle<2, 6, 3, 7>(t[2], t[3]);
    const Half t0 = shuffle<0, 1, 4, 5>(a, b), t1 = shuffle<2, 3, 6, 7>(a, b);
    const Half t2 = shuffle<0, 1, 4, 5>(c, d), t3 = shuffle<2, 3, 6, 7>(c, d);
    const Half four = (t0 + t2) + (t1 + t3);
    std::memcpy(y + i, &four, sizeof four);
  }
  for (; i < count; ++i) y[i] = dot(x, row_of(rows, at, stride, i), n);
}

// A block of y stays in registers for all rows.
template <int Vectors>
inline void axpy_block(const float* a, const float* rows, const int* at, std::ptrdiff_t stride, int count, float* y) {
  Floats sums[Vectors];
  for (int v = 0; v < Vectors; ++v) sums[v] = load(y + v * kLanes);
  for (int i = 0; i < count; ++i) {
    const float* row = row_of(rows, at, stride, i);
    for (int v = 0; v < Vectors; ++v) sums[v] += a[i] * load(row + v * kLanes);
  }
  for (int v = 0; v < Vectors; ++v) store(y + v * kLanes, sums[v]);
}

void axpy_rows(const float* a, const float* rows, const int* at, std::ptrdiff_t stride, int count, int n, float* y) {
  int k = 0;
  for (; k + 4 * kLanes <= n; k += 4 * kLanes) axpy_block<4>(a, rows + k, at, stride, count, y + k);
  for (; k + kLanes <= n; k += kLanes) axpy_block<1>(a, rows + k, at, stride, count, y + k);
  for (int i = 0; k < n && i < count; ++i) axpy(a[i], row_of(rows, at, stride, i) + k, n - k, y + k);
}

float dot_int8(const float* a, const std::int8_t* b, int n) {
  Floats sums{};
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) sums += load(a + i) * load(b + i);
  std::int8_t rest[kLanes] = {};
  std::memcpy(rest, b + i, n - i);
  if (i < n) sums += load_tail(a + i, n - i) * load(rest);
  return combine(sums);
}

void axpy_int8(float a, const std::int8_t* x, int n, float* y) {
  map(n, y, [&](int i, auto in) { return in(y + i) + a * in(x + i); });
}

void add(const float* x, int n, float* y) {
  map(n, y, [&](int i, auto in) { return in(y + i) + in(x + i); });
}

void maximum(const float* const* rows, int count, int n, float* y) {
  map(n, y, [&](int i, auto in) {
    Floats most = in(rows[0] + i);
    for (int r = 1; r < count; ++r) most = larger(in(rows[r] + i), most);
    return most;
  });
}

void relu(float* x, int n) {
  map(n, x, [&](int i, auto in) { return larger(in(x + i), Floats{}); });
}

void relu_squared(float* x, int n) {
  map(n, x, [&](int i, auto in) {
    const Floats v = larger(in(x + i), Floats{});
    return v * v;
  });
}

void affine(const std::int32_t* acc, int n, float scale, const float* a, const float* b, bool rectify, float* y) {
  const Floats least = Floats{} + (rectify ? 0.0f : -INFINITY);
  map(n, y, [&](int i, auto in) { return larger(to_float(in(acc + i)) * scale * in(a + i) + in(b + i), least); });
}

void affine_rows(const std::int32_t* acc, int n, const float* scale, const float* a, const float* b, bool rectify,
                 float* y) {
  const Floats least = Floats{} + (rectify ? 0.0f : -INFINITY);
  map(n, y,
      [&](int i, auto in) { return larger(to_float(in(acc + i)) * in(scale + i) * in(a + i) + in(b + i), least); });
}

// A table with these operations and an instruction set's own integer products.
constexpr Kernels vector_kernels(const char* name, PackedTernary::Order order,
                                 decltype(Kernels::ternary_gemm) ternary_gemm, decltype(Kernels::int8_gemm) int8_gemm) {
  return {.name = name,
          .order = order,
          .ternary_gemm = ternary_gemm,
          .int8_gemm = int8_gemm,
          .winograd_input = nullptr,
          .winograd_gemm = nullptr,
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
}

}  // namespace
}  // namespace bitmar
