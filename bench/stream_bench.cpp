// A decoder that does not stop: time a token and memory, at the beginning of a long stream and at its end.
// BITMAR_STREAM_TOKENS says how long (20,000); the figures in docs/performance.md are for 1,000,000.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <vector>

#ifdef __EMSCRIPTEN__
#include <emscripten/heap.h>
#else
#include <unistd.h>
#endif

#include "default_engine.h"

namespace {

using namespace bitmar;

// Bytes that the process holds; of WebAssembly, its linear memory.
double memory() {
#ifdef __EMSCRIPTEN__
  return static_cast<double>(emscripten_get_heap_size());
#else
  double pages = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
#endif
}

double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2), v.end());
  return v[v.size() / 2];
}

void stream(benchmark::State& state) {
  using Clock = std::chrono::steady_clock;
  constexpr int kBlock = 100;  // tokens timed together
  const char* asked = std::getenv("BITMAR_STREAM_TOKENS");
  const int tokens = asked ? std::max(std::atoi(asked), 10 * kBlock) : 20000;
  BitMar& model = engine().model();
  const int rows = model.config().decoder.num_sinks + model.config().decoder.window_size;
  for (auto _ : state) {
    model.prefill(model.fuse(nullptr, std::vector<int>{model.config().bos_token_id}), nullptr, std::nullopt);
    for (int i = 0; i < rows; ++i) model.decode(3 + i % 200);  // the window is full from here on
    const double before = memory();
    std::vector<double> blocks;
    blocks.reserve(static_cast<std::size_t>(tokens / kBlock));
    for (int i = 0; i < tokens / kBlock; ++i) {
      const auto start = Clock::now();
      for (int j = 0; j < kBlock; ++j) benchmark::DoNotOptimize(model.decode(3 + (i + j) % 200).data());
      blocks.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count() / kBlock);
    }
    const auto tenth = static_cast<std::ptrdiff_t>(blocks.size() / 10);
    state.counters["first_us"] = median({blocks.begin(), blocks.begin() + tenth});
    state.counters["last_us"] = median({blocks.end() - tenth, blocks.end()});
    state.counters["memory"] = memory();
    state.counters["grown"] = memory() - before;
    state.counters["tokens"] = tokens;
  }
}
BENCHMARK(stream)->Iterations(1)->Unit(benchmark::kSecond);

}  // namespace
