// Arena, rotary phases and the KV cache.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <deque>
#include <random>
#include <vector>

#include "runtime/arena.h"
#include "runtime/kv_cache.h"
#include "runtime/rotary.h"

namespace bitmar {
namespace {

TEST(Arena, HandsOutWhatWasMeasured) {
  Arena arena;
  const auto plan = [&] {
    auto kept = arena.take<float>(Purpose::activations, 3);
    const std::size_t mark = arena.mark(Purpose::activations);
    arena.take<float>(Purpose::activations, 100);
    arena.rewind(Purpose::activations, mark);
    auto shared = arena.take<double>(Purpose::activations, 20);
    auto other = arena.take<std::int8_t>(Purpose::scratch, 1);
    return std::tuple(kept, shared, other);
  };
  plan();
  EXPECT_EQ(arena.bytes(Purpose::activations), 64u + 448u);  // 100 floats, to whole cache lines
  EXPECT_EQ(arena.bytes(Purpose::scratch), 64u);
  EXPECT_EQ(arena.bytes(Purpose::kv_cache), 0u);
  arena.commit();
  auto [kept, shared, other] = plan();
  for (void* p :
       {static_cast<void*>(kept.data()), static_cast<void*>(shared.data()), static_cast<void*>(other.data())}) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p) % Arena::kAlignment, 0u);
  }
  EXPECT_EQ(kept[2], 0.0f);
  shared[19] = 1;
  EXPECT_THROW(arena.take<float>(Purpose::scratch, 1), std::logic_error);
  EXPECT_THROW(Arena().take<float>(Purpose::scratch, SIZE_MAX / 2), std::bad_alloc);
}

TEST(Rotary, AnglesAreThoseOfTheDefinition) {
  const int head = 64;
  RotaryPhase phase(head, 10000.0);
  std::vector<float> c(32), s(32);
  phase.start();
  for (int position = 0; position < 3000; ++position) {
    if (position > 0) phase.advance();
    phase.write(c.data(), s.data());
    for (int j = 0; j < 32; ++j) {
      const double angle = position * std::pow(10000.0, -2.0 * j / head);
      ASSERT_NEAR(c[j], std::cos(angle), 1e-7) << position << " " << j;
      ASSERT_NEAR(s[j], std::sin(angle), 1e-7) << position << " " << j;
    }
  }
}

TEST(Rotary, TurnsPairsHalfAHeadApart) {
  const float x[] = {1, 2, 3, 4}, c[] = {0, 1}, s[] = {1, 0};
  float y[4];
  rotate(x, 1, 4, c, s, y);
  EXPECT_EQ(y[0], -3);
  EXPECT_EQ(y[2], 1);
  EXPECT_EQ(y[1], 2);
  EXPECT_EQ(y[3], 4);
}

// StreamingLLM's definition, by brute force: the cache is the list of the sinks and the last W tokens,
// and every key is rotated by its index in that list.
void check_stream(bool int8, double tolerance) {
  const KvShape shape{.layers = 2, .heads = 2, .head = 8, .sinks = 2, .window = 6, .rope_theta = 100, .int8 = int8};
  Arena arena;
  KvCache(shape, kernels(), arena);
  arena.commit();
  const std::size_t planned = arena.bytes(Purpose::kv_cache);
  KvCache cache(shape, kernels(), arena);
  const int width = shape.width(), layer = 1;

  std::mt19937 random(7);
  const auto vector = [&] {
    std::normal_distribution<float> normal;
    std::vector<float> v(width);
    for (float& x : v) x = normal(random);
    return v;
  };
  struct Token {
    std::vector<float> key, value;
  };
  std::vector<Token> sinks;
  std::deque<Token> window;
  const auto turned = [&](const std::vector<float>& x, int index) {
    std::vector<double> y(width);
    for (int h = 0; h < shape.heads; ++h) {
      for (int j = 0; j < shape.head / 2; ++j) {
        const int a = h * shape.head + j, b = a + shape.head / 2;
        const double angle = index * std::pow(shape.rope_theta, -2.0 * j / shape.head);
        y[a] = x[a] * std::cos(angle) - x[b] * std::sin(angle);
        y[b] = x[b] * std::cos(angle) + x[a] * std::sin(angle);
      }
    }
    return y;
  };

  const auto element = [&](const KvRows& rows, int row, int j) {
    if (rows.floats) return double{rows.floats[row * width + j]};
    return double{rows.scales[row * shape.heads + j / shape.head]} * rows.bytes[row * width + j];
  };

  cache.start();
  for (int step = 0; step < 5000; ++step) {
    Token token{vector(), vector()};
    std::vector<float> q = vector();
    cache.advance();
    cache.put(0, token.value.data(), token.key.data());  // another layer must not disturb this one
    cache.put(layer, token.key.data(), token.value.data());
    if (step < shape.sinks) {
      sinks.push_back(token);
    } else {
      window.push_back(token);
      if (static_cast<int>(window.size()) > shape.window) window.pop_front();
    }
    std::vector<Token> all = sinks;
    all.insert(all.end(), window.begin(), window.end());
    const int newest = static_cast<int>(all.size()) - 1;
    ASSERT_EQ(cache.rows().size(), all.size());

    const auto attend = [&](int count, auto score, auto value) {
      std::vector<double> weights(count), out(width);
      for (int h = 0; h < shape.heads; ++h) {
        double sum = 0;
        for (int i = 0; i < count; ++i) sum += weights[i] = std::exp(score(h, i));
        for (int i = 0; i < count; ++i) {
          for (int j = h * shape.head; j < (h + 1) * shape.head; ++j) out[j] += weights[i] / sum * value(i, j);
        }
      }
      return out;
    };
    const std::vector<double> turned_query = turned(q, newest);
    const auto wanted = attend(
        newest + 1,
        [&](int h, int i) {
          const std::vector<double> key = turned(all[i].key, i);
          double dot = 0;
          for (int j = h * shape.head; j < (h + 1) * shape.head; ++j) dot += key[j] * turned_query[j];
          return dot;
        },
        [&](int i, int j) { return all[i].value[j]; });
    cache.turn_query(q.data());
    const auto got = attend(
        newest + 1,
        [&](int h, int i) {
          double dot = 0;
          for (int j = h * shape.head; j < (h + 1) * shape.head; ++j) {
            dot += element(cache.keys(layer), cache.rows()[i], j) * q[j];
          }
          return dot;
        },
        [&](int i, int j) { return element(cache.values(layer), cache.rows()[i], j); });
    for (int j = 0; j < width; ++j) ASSERT_NEAR(got[j], wanted[j], tolerance) << "step " << step;
  }
  EXPECT_EQ(arena.bytes(Purpose::kv_cache), planned);

  cache.start();
  cache.advance();
  EXPECT_EQ(cache.rows().size(), 1u);
}

TEST(KvCache, EqualsAttentionOverTheCacheWithIndicesForPositions) { check_stream(false, 2e-5); }
TEST(KvCache, IsCloseToItAsInt8) { check_stream(true, 0.1); }

}  // namespace
}  // namespace bitmar
