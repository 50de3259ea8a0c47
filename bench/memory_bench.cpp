// The episodic memory by its number of slots, all of them taken: keys in all directions, and the keys of one room.
#include <benchmark/benchmark.h>

#include <cmath>
#include <map>
#include <memory>
#include <vector>

#include "memory/episodic_memory.h"
#include "runtime/random.h"

namespace {

using namespace bitmar;

constexpr int kWidth = 128;

// A unit vector; `common` is the share that all of them have in common.
std::vector<float> vector(Random& random, float common) {
  std::vector<float> v(kWidth);
  for (float& x : v) {
    float normal = -6;
    for (int i = 0; i < 12; ++i) normal += static_cast<float>(random.uniform());
    x = common + (1 - common) * normal;
  }
  const float length = std::sqrt(kernels().dot(v.data(), v.data(), kWidth));
  for (float& x : v) x /= length;
  return v;
}

struct Filled {
  Filled(int slots, float common) {
    const EpisodicMemory::Settings settings{.slots = slots, .width = kWidth, .read_threshold = 0.5f};
    EpisodicMemory(settings, kernels(), arena);
    arena.commit();
    memory = std::make_unique<EpisodicMemory>(settings, kernels(), arena);
    for (int i = 0; i < slots; ++i) {
      memory->restore(i, {.id = i + 1u, .strength = 1}, vector(random, common), vector(random, common));
    }
    for (int i = 0; i < 16; ++i) queries.push_back(vector(random, common));
  }
  Random random{1};
  Arena arena;
  std::unique_ptr<EpisodicMemory> memory;
  std::vector<std::vector<float>> queries;
};

Filled& filled(const benchmark::State& state) {
  static std::map<std::pair<std::int64_t, std::int64_t>, std::unique_ptr<Filled>> made;
  auto& memory = made[{state.range(0), state.range(1)}];
  if (!memory) memory = std::make_unique<Filled>(state.range(0), state.range(1) ? 0.7f : 0.0f);
  return *memory;
}

void recall(benchmark::State& state) {
  Filled& f = filled(state);
  std::vector<Match> best(10);
  std::size_t i = 0;
  for (auto _ : state) benchmark::DoNotOptimize(f.memory->recall(f.queries[i++ % 16], best));
  state.counters["bytes/slot"] = static_cast<double>(f.arena.bytes(Purpose::memory_slots)) / f.memory->capacity();
}

void read(benchmark::State& state) {
  Filled& f = filled(state);
  std::vector<float> out(kWidth);
  std::size_t i = 0;
  for (auto _ : state) benchmark::DoNotOptimize(f.memory->read(f.queries[i++ % 16], out));
}

void write(benchmark::State& state) {
  Filled& f = filled(state);
  double now = 0;
  for (auto _ : state) {
    const std::vector<float> v = vector(f.random, 0);
    f.memory->write(v, v, now += 1000);
  }
}

void save_one_change(benchmark::State& state) {
  Filled& f = filled(state);
  for (auto _ : state) {
    const std::uint64_t before = f.memory->sequence();
    f.memory->touch(7, 0);
    benchmark::DoNotOptimize(f.memory->changes_since(before));
  }
}

void save_all(benchmark::State& state) {
  Filled& f = filled(state);
  for (auto _ : state) benchmark::DoNotOptimize(f.memory->snapshot());
}

void sizes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"slots", "one_room"})->Unit(benchmark::kMicrosecond);
  for (const int slots : {64, 512, 4096, 16384, 65536}) {
    for (const int room : {0, 1}) b->Args({slots, room});
  }
}

BENCHMARK(recall)->Name("memory/recall")->Apply(sizes);
BENCHMARK(read)->Name("memory/read")->Apply(sizes);
BENCHMARK(save_one_change)
    ->Name("memory/save_one_change")
    ->Args({512, 0})
    ->Args({65536, 0})
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(save_all)->Name("memory/save_all")->Args({512, 0})->Args({65536, 0})->Unit(benchmark::kMicrosecond);
BENCHMARK(write)->Name("memory/write")->Args({512, 0})->Args({65536, 0})->Unit(benchmark::kMicrosecond);

}  // namespace
