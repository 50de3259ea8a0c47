// A few thousand operations at load that catch a build, a browser or a processor that computes
// something else, for example a relaxed instruction that the browser gets wrong.
#include <cstring>
#include <vector>

#include "kernels/kernels.h"

namespace bitmar {

namespace {

// Numbers that need no quality, only variety (Numerical Recipes' quick generator).
struct Noise {
  std::uint32_t state = 1;
  std::uint32_t next() { return state = state * 1664525u + 1013904223u; }
  float real() { return static_cast<float>(static_cast<std::int32_t>(next())) * 4e-9f; }
};

template <class T>
bool same(const std::vector<T>& a, const std::vector<T>& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

enum class Filling { noise, largest };

// Codes of ternary weights, four to a byte.
std::vector<std::uint8_t> packed_weights(int rows, int cols, Filling filling, Noise& noise) {
  std::vector<std::uint8_t> packed(static_cast<std::size_t>(rows) / 4 * cols);
  for (auto& byte : packed) {
    byte = filling == Filling::largest ? 0xaa : 0;
    for (int shift = 0; shift < 8 && filling == Filling::noise; shift += 2)
      byte = static_cast<std::uint8_t>(byte | (noise.next() >> 8) % 3 << shift);
  }
  return packed;
}

bool same_products(const Kernels& k, int rows, int cols, int m, Filling filling) {
  const Kernels& reference = scalar_kernels();
  Noise noise;
  const PackedTernary w(packed_weights(rows, cols, filling, noise), rows, cols, k.order);
  std::vector<std::int8_t> x(static_cast<std::size_t>(m) * cols), full(static_cast<std::size_t>(rows) * cols);
  // The largest magnitudes are where an instruction that saturates shows, and a partial sum that is too full.
  for (std::size_t i = 0; i < x.size(); ++i) {
    const bool even_row = i / static_cast<std::size_t>(cols) % 2 == 0;
    if (filling == Filling::largest) {
      x[i] = even_row ? 127 : -127;
    } else {
      x[i] = static_cast<std::int8_t>((noise.next() >> 8) % 255 - 127);
    }
  }
  for (auto& v : full) v = static_cast<std::int8_t>((noise.next() >> 8) % 255 - 127);
  std::vector<std::byte> scratch(w.scratch_bytes(m));
  std::vector<std::int32_t> wanted(static_cast<std::size_t>(m) * rows), got(wanted.size());
  reference.ternary_gemm(w, x.data(), m, wanted.data(), scratch.data());
  k.ternary_gemm(w, x.data(), m, got.data(), scratch.data());
  if (!same(wanted, got)) return false;
  reference.int8_gemm(full.data(), x.data(), m, rows, cols, wanted.data());
  k.int8_gemm(full.data(), x.data(), m, rows, cols, got.data());
  return same(wanted, got);
}

// Noise, or the largest inputs and weights that there are.
bool same_convolution(const Kernels& k, int in, int out, int lines, int pairs, Filling filling) {
  constexpr int kTaps = 9;
  Noise noise;
  const WinogradFilter w(PackedTernary(packed_weights(out, kTaps * in, filling, noise), out, kTaps * in, k.order));
  const int pixels = 2 * pairs + 2, sums_of_line = WinogradFilter::kProducts * pairs;
  std::vector<std::int8_t> x(static_cast<std::size_t>(lines + 2) * pixels * in);
  for (auto& v : x) v = static_cast<std::int8_t>(filling == Filling::largest ? 127 : noise.next() >> 25);
  const auto convolved = [&](const Kernels& by) {
    std::vector<std::int8_t> u(static_cast<std::size_t>(lines + 2) * sums_of_line * in);
    std::vector<std::int32_t> sums(static_cast<std::size_t>(lines + 2) * sums_of_line);
    std::vector<std::int32_t> y(static_cast<std::size_t>(lines) * 2 * pairs * out);
    for (int i = 0; i < lines + 2; ++i) {
      by.winograd_input(x.data() + i * pixels * in, pairs, in, u.data() + i * sums_of_line * in,
                        sums.data() + i * sums_of_line);
    }
    by.winograd_gemm(w, u.data(), sums.data(), lines, pairs, y.data());
    return y;
  };
  return convolved(k) == convolved(scalar_kernels());
}

// Every float operation of `k` on the same noise, results one after another.
std::vector<float> float_results(const Kernels& k, int n) {
  Noise noise;
  std::vector<float> a(n), b(n), y(n), out;
  std::vector<std::int8_t> q(n);
  std::vector<std::int32_t> acc(n);
  for (int i = 0; i < n; ++i) {
    a[i] = noise.real(), b[i] = noise.real();
    acc[i] = static_cast<std::int32_t>(noise.next()) >> 12;
  }
  const auto keep = [&] { out.insert(out.end(), y.begin(), y.end()); };
  out.push_back(k.quantize_row(a.data(), n, q.data()));
  out.insert(out.end(), q.begin(), q.end());
  out.push_back(k.dot(a.data(), b.data(), n));
  k.dequantize(acc.data(), n, 0.37f, y.data()), keep();
  k.rms_norm(a.data(), b.data(), n, 1e-5f, y.data()), keep();
  k.axpy(1.3f, a.data(), n, y.data()), keep();
  std::vector<float> rows(a);
  for (int i = 0; i < 6; ++i) rows.insert(rows.end(), b.begin(), b.end()), rows.push_back(a[0]);
  constexpr int kAt[] = {3, 0, 5, 1, 1, 4};
  for (const int* at : {kAt, static_cast<const int*>(nullptr)}) {
    float dots[6];
    k.dot_rows(a.data(), rows.data(), at, n, 6, n, dots);
    out.insert(out.end(), dots, dots + 6);
    k.axpy_rows(dots, rows.data(), at, n, 6, n, y.data()), keep();
  }
  out.push_back(k.dot_int8(a.data(), q.data(), n));
  k.axpy_int8(1.3f, q.data(), n, y.data()), keep();
  k.add(b.data(), n, y.data()), keep();
  const float* const three[] = {a.data(), b.data(), rows.data() + 1};
  k.maximum(three, 3, n, y.data()), keep();
  k.softmax(y.data(), n), keep();
  y = a, k.relu(y.data(), n), keep();
  y = a, k.relu_squared(y.data(), n), keep();
  k.affine(acc.data(), n, 0.01f, a.data(), b.data(), true, y.data()), keep();
  k.affine_rows(acc.data(), n, b.data(), a.data(), b.data(), false, y.data()), keep();
  return out;
}

bool same_resampling(const Kernels& k, int channels) {
  constexpr int kTaps = 5, kOut = 9, kIn = 23;
  Noise noise;
  std::vector<std::uint8_t> from(kIn * channels * kTaps);
  for (auto& v : from) v = static_cast<std::uint8_t>(noise.next() >> 24);
  std::vector<std::int32_t> first(kOut), weights(kOut * kTaps);
  for (int i = 0; i < kOut; ++i) first[i] = 2 * i;
  for (auto& v : weights) v = static_cast<std::int32_t>(noise.next() >> 11);  // together more than 1, at times
  std::vector<std::uint8_t> wanted(3 * kOut + kIn * channels), got(wanted.size());
  const auto both = [&](const Kernels& by, std::uint8_t* to) {
    by.resample_row(from.data(), channels, first.data(), weights.data(), kTaps, kOut, to);
    by.resample_column(from.data(), kIn * channels, weights.data(), kTaps, kIn * channels, to + 3 * kOut);
  };
  both(scalar_kernels(), wanted.data());
  both(k, got.data());
  return same(wanted, got);
}

}  // namespace

bool passes_self_check(const Kernels& candidate) {
  // One row of x and several, whole tiles and parts, more columns than partial sums of any kernel hold.
  if (!same_products(candidate, 84, 48, 1, Filling::noise) || !same_products(candidate, 36, 300, 15, Filling::noise) ||
      !same_products(candidate, 20, 27, 9, Filling::noise) || !same_products(candidate, 20, 27, 9, Filling::largest) ||
      !same_products(candidate, 16, 300, 1, Filling::largest) ||
      !same_products(candidate, 16, 300, 7, Filling::largest)) {
    return false;
  }
  if (candidate.winograd_gemm && (!same_convolution(candidate, 32, 16, 2, 3, Filling::noise) ||
                                  !same_convolution(candidate, 176, 32, 1, 1, Filling::largest))) {
    return false;
  }
  if (!same_resampling(candidate, 3) || !same_resampling(candidate, 4)) return false;
  for (const int n : {1, 7, 16, 77}) {
    if (!same(float_results(candidate, n), float_results(scalar_kernels(), n))) return false;
  }
  return true;
}

}  // namespace bitmar
