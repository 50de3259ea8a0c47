// The kernels at the shapes of the default model, in multiply-accumulates a second. Run with
// --benchmark_repetitions and compare ratios within one run: absolute figures drift with the machine.
#include <benchmark/benchmark.h>

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

void ternary_gemm(benchmark::State& state, const Kernels* kernels, int m, int rows, int cols) {
  // Codes 0..2, four to a byte, in the order of the file.
  const auto random = bytes(static_cast<std::size_t>(rows) / 4 * cols, 0, 81);
  std::vector<std::uint8_t> packed;
  for (int b : random)
    packed.push_back(static_cast<std::uint8_t>(b % 3 | b / 3 % 3 << 2 | b / 9 % 3 << 4 | b / 27 << 6));
  const PackedTernary w(packed, rows, cols, kernels->order);
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
    for (const int m : {1, 64}) {  // those of bench/ceilings.mjs
      ternary(m, 128, 128), ternary(m, 256, 256), ternary(m, 512, 512);
      ternary(m, 1024, 256), ternary(m, 256, 1024), ternary(m, 2048, 2048);
    }
    ternary(4, 256, 256), ternary(64, 768, 256);
    ternary(64, 32, 288), ternary(64, 64, 288), ternary(64, 80, 64), ternary(64, 192, 720);
    int8(64, 32, 27), int8(1, 4096, 256);
    for (const int n : {128, 256, 512, 1024, 2048}) {
      benchmark::RegisterBenchmark(("quantize_row/" + name + "/" + std::to_string(n)).c_str(), quantize_row, k, n);
    }
    benchmark::RegisterBenchmark(("softmax/" + name + "/64").c_str(), softmax, k, 64);
  }
  return true;
}();

}  // namespace
}  // namespace bitmar
