// The kernels at the shapes of the default model, in multiply-accumulates a second. Run with
// --benchmark_repetitions and compare ratios within one run: absolute figures drift with the machine.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "runtime/arena.h"

namespace bitmar {
namespace {

std::vector<std::int8_t> bytes(std::size_t n, int low, int count) {
  std::vector<std::int8_t> v(n);
  std::uint32_t state = 1;
  for (auto& b : v)
    b = static_cast<std::int8_t>(low + static_cast<int>((state = state * 1664525u + 1013904223u) >> 16) % count);
  return v;
}

void count(benchmark::State& state, double macs) {
  state.counters["GMAC/s"] = benchmark::Counter(macs * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

PackedTernary random_ternary(const Kernels& kernels, int rows, int cols) {
  // Codes 0..2, four to a byte, in the order of the file.
  const auto random = bytes(static_cast<std::size_t>(rows) / 4 * cols, 0, 81);
  std::vector<std::uint8_t> packed;
  packed.reserve(random.size());
  for (int b : random)
    packed.push_back(static_cast<std::uint8_t>(b % 3 | b / 3 % 3 << 2 | b / 9 % 3 << 4 | b / 27 << 6));
  return PackedTernary(packed, rows, cols, kernels.order);
}

void ternary_gemm(benchmark::State& state, const Kernels* kernels, int m, int rows, int cols) {
  const PackedTernary w = random_ternary(*kernels, rows, cols);
  const auto x = bytes(static_cast<std::size_t>(m) * cols, -127, 255);
  std::vector<std::int32_t> y(static_cast<std::size_t>(m) * rows);
  Arena arena;  // aligned as in the model
  arena.take<std::byte>(Purpose::scratch, w.scratch_bytes(m));
  arena.commit();
  const auto scratch = arena.take<std::byte>(Purpose::scratch, w.scratch_bytes(m));
  for (auto _ : state) {
    kernels->ternary_gemm(w, x.data(), m, y.data(), scratch.data());
    benchmark::ClobberMemory();
  }
  count(state, static_cast<double>(m) * rows * cols);
}

// A convolution of 3 x 3 over a whole map of size x size pixels, as the stem takes it 64 pixels at a time: windows put
// together for ternary_gemm.
void convolution_plain(benchmark::State& state, const Kernels* kernels, int size, int in, int out) {
  constexpr int kStrip = 64;
  const int patch = 9 * in, pitch = (size + 2) * in;
  const PackedTernary w = random_ternary(*kernels, out, patch);
  const auto map = bytes(static_cast<std::size_t>(size + 2) * pitch, 0, 128);
  std::vector<std::int8_t> x(static_cast<std::size_t>(kStrip) * patch);
  std::vector<std::int32_t> y(static_cast<std::size_t>(kStrip) * out);
  std::vector<std::byte> scratch(w.scratch_bytes(kStrip));
  for (auto _ : state) {
    for (int start = 0; start < size * size; start += kStrip) {
      std::int8_t* to = x.data();
      for (int i = start; i < start + kStrip; ++i) {
        for (int ky = 0; ky < 3; ++ky, to += 3 * in)
          std::copy_n(&map[(i / size + ky) * pitch + i % size * in], 3 * in, to);
      }
      kernels->ternary_gemm(w, x.data(), kStrip, y.data(), scratch.data());
      benchmark::ClobberMemory();
    }
  }
  count(state, static_cast<double>(size) * size * patch * out);
}

// The same by Winograd's products, inputs included; GMAC/s of the convolution, of which a third is not done.
void convolution_winograd(benchmark::State& state, const Kernels* kernels, int size, int in, int out) {
  constexpr int kStrip = 64;
  const int pairs = size / 2, sums_of_line = WinogradFilter::kProducts * pairs, lines = kStrip / size;
  const WinogradFilter w(random_ternary(*kernels, out, 9 * in));
  const auto map = bytes(static_cast<std::size_t>(size + 2) * (size + 2) * in, 0, 128);
  std::vector<std::int8_t> u(static_cast<std::size_t>(size + 2) * sums_of_line * in);
  std::vector<std::int32_t> sums(static_cast<std::size_t>(size + 2) * sums_of_line);
  std::vector<std::int32_t> y(static_cast<std::size_t>(kStrip) * out);
  for (auto _ : state) {
    for (int i = 0; i < size + 2; ++i) {
      kernels->winograd_input(&map[i * (size + 2) * in], pairs, in, &u[i * sums_of_line * in], &sums[i * sums_of_line]);
    }
    for (int line = 0; line < size; line += lines) {
      kernels->winograd_gemm(w, &u[line * sums_of_line * in], &sums[line * sums_of_line], lines, pairs, y.data());
      benchmark::ClobberMemory();
    }
  }
  count(state, 9.0 * size * size * in * out);
}

void int8_gemm(benchmark::State& state, const Kernels* kernels, int m, int n, int k) {
  const auto w = bytes(static_cast<std::size_t>(n) * k, -127, 255),
             x = bytes(static_cast<std::size_t>(m) * k, -127, 255);
  std::vector<std::int32_t> y(static_cast<std::size_t>(m) * n);
  for (auto _ : state) {
    kernels->int8_gemm(w.data(), x.data(), m, n, k, y.data());
    benchmark::ClobberMemory();
  }
  count(state, static_cast<double>(m) * n * k);
}

void quantize_row(benchmark::State& state, const Kernels* kernels, int n) {
  std::vector<float> x(n);
  for (int i = 0; i < n; ++i) x[i] = static_cast<float>(i % 97) - 48.0f;
  std::vector<std::int8_t> q(n);
  for (auto _ : state) benchmark::DoNotOptimize(kernels->quantize_row(x.data(), n, q.data()));
  state.SetItemsProcessed(state.iterations() * n);
}

void softmax(benchmark::State& state, const Kernels* kernels, int n) {
  std::vector<float> x(n, 0.5f);
  for (auto _ : state) {
    kernels->softmax(x.data(), n);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * n);
}

// A strip of 64 patches of each stem convolution, 64 tokens of the transformer, one token of the decoder.
const bool registered = [] {
  for (const Kernels* k : available_kernels()) {
    const std::string name = k->name;
    const auto ternary = [&](int m, int rows, int cols) {
      benchmark::RegisterBenchmark(
          ("ternary_gemm/" + name + "/" + std::to_string(m) + "x" + std::to_string(rows) + "x" + std::to_string(cols))
              .c_str(),
          ternary_gemm, k, m, rows, cols);
    };
    const auto int8 = [&](int m, int n, int cols) {
      benchmark::RegisterBenchmark(
          ("int8_gemm/" + name + "/" + std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(cols))
              .c_str(),
          int8_gemm, k, m, n, cols);
    };
    for (const int m : {1, 64}) {  // a token, and the patches of a picture
      ternary(m, 128, 128), ternary(m, 256, 256), ternary(m, 512, 512);
      ternary(m, 1024, 256), ternary(m, 256, 1024), ternary(m, 2048, 2048);
    }
    ternary(4, 256, 256), ternary(64, 768, 256);
    ternary(64, 32, 288), ternary(64, 64, 288), ternary(64, 80, 64), ternary(64, 192, 720);
    int8(64, 32, 27), int8(1, 4096, 256);
    struct Shape {
      int size, in, out;
    };
    for (const auto& [size, in, out] :
         {Shape{64, 32, 32}, {64, 32, 64}, {32, 80, 192}, {16, 192, 192}, {8, 256, 256}}) {
      const std::string shape =
          name + "/" + std::to_string(size) + "x" + std::to_string(in) + "x" + std::to_string(out);
      benchmark::RegisterBenchmark(("convolution_plain/" + shape).c_str(), convolution_plain, k, size, in, out);
      if (!k->winograd_gemm) continue;
      benchmark::RegisterBenchmark(("convolution_winograd/" + shape).c_str(), convolution_winograd, k, size, in, out);
    }
    for (const int n : {128, 256, 512, 1024, 2048}) {
      benchmark::RegisterBenchmark(("quantize_row/" + name + "/" + std::to_string(n)).c_str(), quantize_row, k, n);
    }
    benchmark::RegisterBenchmark(("softmax/" + name + "/64").c_str(), softmax, k, 64);
  }
  return true;
}();

}  // namespace
}  // namespace bitmar
