// The same bits from every table of kernels, whatever the model: random small ones, their seeds printed.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#ifdef __EMSCRIPTEN__
#include <emscripten/em_js.h>
#endif

#include "random_model.h"
#include "runtime/thread_pool.h"

namespace bitmar {
namespace {

#ifdef __EMSCRIPTEN__
// clang-format off
EM_JS(int, bitmar_environment, (const char* name), { return Number(process.env[UTF8ToString(name)] ?? 0); });
// clang-format on
#else
int bitmar_environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? std::atoi(value) : 0;
}
#endif

// All that a caller can see of a model.
struct Seen {
  std::vector<int> greedy, beams, sampled, recalled;
  std::vector<double> numbers;
  std::vector<float> query;
  bool operator==(const Seen&) const = default;
};

void note(const CaptionResult& result, std::vector<int>& tokens, std::vector<double>& numbers) {
  tokens = result.tokens;
  numbers.push_back(result.log_probability);
  if (result.confidence) numbers.push_back(*result.confidence);
}

Seen look(Engine& engine, const RandomModel::Picture* picture, std::span<const float> grid) {
  Seen seen;
  const auto caption = [&](const CaptionOptions& options) {
    return picture ? engine.caption(picture->view(), options) : engine.caption_features(grid, options);
  };
  const CaptionResult greedy = caption({.prompt = "a", .max_tokens = 6});
  note(greedy, seen.greedy, seen.numbers);
  engine.remember(0, greedy.text);
  note(caption({.max_tokens = 5, .num_beams = 3}), seen.beams, seen.numbers);
  note(caption({.max_tokens = 30, .temperature = 2, .top_p = 0.9f, .seed = 7}), seen.sampled, seen.numbers);
  note(caption({.max_tokens = 4, .read_memory = true}), seen.recalled, seen.numbers);
  const auto query = engine.embed(nullptr, "a dog");
  seen.query.assign(query.begin(), query.end());
  return seen;
}

TEST(Differential, EveryTableGivesTheBitsOfTheReference) {
  // 200 in `npm test -- full`.
  const int models = bitmar_environment("BITMAR_RANDOM_MODELS"), count = models > 0 ? models : 12;
  const int first = bitmar_environment("BITMAR_RANDOM_SEED");
  const std::uint64_t seed = first > 0 ? static_cast<std::uint64_t>(first) : 1;
  std::string tables;
  for (const Kernels* k : available_kernels()) tables += std::string(" ") + k->name;
  std::printf("%d random models from seed %llu on, float and int8 cache, %d thread(s) at most:%s\n", count,
              static_cast<unsigned long long>(seed), ThreadPool(2).threads(), tables.c_str());
  std::size_t different = 0;
  Seen before;
  for (std::uint64_t s = seed; s < seed + static_cast<std::uint64_t>(count); ++s) {
    RandomModel model(s, s % 8 == 0);
    const bool features = s % 8 == 0;
    const RandomModel::Picture picture = model.picture();
    const std::vector<float> grid = features ? model.grid() : std::vector<float>();
    for (const bool int8 : {false, true}) {
      const auto see = [&](const Kernels& kernels, int threads) {
        const auto engine = Engine::load(files_of(model.files()), {.int8_kv_cache = int8, .threads = threads}, kernels);
        return look(*engine, features ? nullptr : &picture, grid);
      };
      const Seen reference = see(scalar_kernels(), 1);
      for (const Kernels* kernels : available_kernels()) {
        if (kernels == &scalar_kernels()) continue;
        ASSERT_EQ(see(*kernels, 1), reference)
            << "seed " << s << ", " << kernels->name << (int8 ? ", int8 cache" : ", float cache")
            << ": BITMAR_RANDOM_SEED=" << s << " BITMAR_RANDOM_MODELS=1 repeats it";
      }
      // And two threads, where there can be two, by the fastest table.
      ASSERT_EQ(see(*available_kernels().front(), 2), reference) << "seed " << s << ", two threads";
      if (reference != before) ++different;
      before = reference;
    }
  }
  // And a comparison that cannot tell models apart would prove nothing.
  EXPECT_GE(different, static_cast<std::size_t>(count));
}

}  // namespace
}  // namespace bitmar
