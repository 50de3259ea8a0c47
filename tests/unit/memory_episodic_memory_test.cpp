#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "io/error.h"
#include "memory/episodic_memory.h"
#include "runtime/random.h"

namespace bitmar {
namespace {

constexpr double kHour = 3600e3;

struct EpisodicMemoryTest : testing::Test {
  EpisodicMemoryTest() {
    const EpisodicMemory::Settings settings{.slots = 3, .width = 4, .recall_threshold = 0.75f};
    EpisodicMemory(settings, kernels(), arena);
    arena.commit();
    memory = std::make_unique<EpisodicMemory>(settings, kernels(), arena);
  }
  // Unit vectors along an axis, or between two of them.
  static std::vector<float> axis(int i) {
    std::vector<float> v(4);
    v[i] = 1;
    return v;
  }
  static std::vector<float> between(int i, int j, float angle) {
    std::vector<float> v(4);
    v[i] = std::cos(angle);
    v[j] = std::sin(angle);
    return v;
  }
  EpisodicMemory::Written write(const std::vector<float>& v, double now = 0) { return memory->write(v, v, now); }

  Arena arena;
  std::unique_ptr<EpisodicMemory> memory;
};

TEST_F(EpisodicMemoryTest, EmptyHasNothingToSay) {
  std::vector<float> out(4, 7);
  EXPECT_FALSE(memory->read(axis(0), out));
  EXPECT_EQ(out[0], 7);
  Match match;
  EXPECT_EQ(memory->recall(axis(0), {&match, 1}), 0);
  EXPECT_EQ(memory->weakest(0), -1);
}

TEST_F(EpisodicMemoryTest, ReadsBySimilarityAndChangesNothing) {
  memory->write(axis(0), axis(2), 5);
  memory->write(axis(1), axis(3), 6);
  const auto before = memory->slot(0);
  std::vector<float> out(4);
  ASSERT_TRUE(memory->read(between(0, 1, 0.3f), out));
  const double a = std::exp(std::cos(0.3) / 0.1), b = std::exp(std::sin(0.3) / 0.1);
  EXPECT_NEAR(out[2], a / (a + b), 1e-5);
  EXPECT_NEAR(out[3], b / (a + b), 1e-5);
  EXPECT_EQ(memory->slot(0).uses, before.uses);
  EXPECT_EQ(memory->slot(0).last_used_ms, before.last_used_ms);
}

TEST_F(EpisodicMemoryTest, RecallRanks) {
  write(axis(0)), write(axis(1)), write(axis(2));
  std::vector<float> q = between(1, 2, 0.5f);
  std::vector<Match> out(2);
  ASSERT_EQ(memory->recall(q, out), 2);
  EXPECT_EQ(out[0].slot, 1);
  EXPECT_EQ(out[1].slot, 2);
  EXPECT_NEAR(out[0].similarity, std::cos(0.5), 1e-6);
  std::vector<Match> many(9);
  EXPECT_EQ(memory->recall(q, many), 3);
  EXPECT_EQ(memory->recall(q, {}), 0);
  memory->touch(2, 99);
  EXPECT_EQ(memory->slot(2).uses, 1u);
  EXPECT_EQ(memory->slot(2).last_used_ms, 99);
}

TEST_F(EpisodicMemoryTest, KnownThingsBlendNewOnesAreAdded) {
  EXPECT_EQ(write(axis(0), 1).outcome, EpisodicMemory::Outcome::added);
  const auto close = between(0, 1, 0.4f);  // cos 0.4 = 0.92
  const auto written = write(close, 2);
  EXPECT_EQ(written.outcome, EpisodicMemory::Outcome::blended);
  EXPECT_EQ(written.slot, 0);
  EXPECT_EQ(memory->size(), 1);
  EXPECT_EQ(memory->slot(0).strength, 2);
  EXPECT_EQ(memory->slot(0).created_ms, 1);
  EXPECT_EQ(memory->slot(0).last_used_ms, 2);
  const double x = 0.8 + 0.2 * std::cos(0.4), y = 0.2 * std::sin(0.4), n = std::hypot(x, y);
  EXPECT_NEAR(memory->key(0)[0], x / n, 1e-6);
  EXPECT_NEAR(memory->value(0)[1], y / n, 1e-6);
  EXPECT_EQ(write(between(0, 1, 0.8f)).outcome, EpisodicMemory::Outcome::added);
}

TEST_F(EpisodicMemoryTest, TheWeakestIsReplaced) {
  write(axis(0), 0), write(axis(1), 0), write(axis(2), 0);
  memory->touch(0, 0);
  write(axis(2), 0);  // strength 2
  EXPECT_EQ(memory->weakest(0), 1);
  memory->touch(1, 0), memory->touch(1, 0);
  memory->touch(0, 9 * kHour);
  // Worth: 3 / 10, 3 / 10, 2 / 10 after nine hours, the first refreshed to 3 / 1.
  EXPECT_EQ(memory->weakest(9 * kHour), 2);
  const auto written = write(axis(3), 9 * kHour);
  EXPECT_EQ(written.outcome, EpisodicMemory::Outcome::replaced);
  EXPECT_EQ(written.slot, 2);
  EXPECT_EQ(memory->slot(2).strength, 1);
}

TEST_F(EpisodicMemoryTest, LabelledSlotsGoLast) {
  write(axis(0), 0), write(axis(1), 0), write(axis(2), 0);
  memory->set_label(0, "my red mug");
  memory->touch(1, 0), memory->touch(2, 0);
  EXPECT_EQ(memory->weakest(0), 1);
  memory->set_label(1, "a dog"), memory->set_label(2, "a cat");
  EXPECT_EQ(memory->weakest(0), 0);
  EXPECT_EQ(memory->slot(0).label(), "my red mug");
  EXPECT_THROW(memory->set_label(0, std::string(64, 'x')), Error);
}

TEST_F(EpisodicMemoryTest, ThePapersRuleMovesEverySlotByItsShare) {
  memory->set_policy(EpisodicMemory::Policy::additive);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(write(axis(i)).outcome, EpisodicMemory::Outcome::added);
  const auto q = between(0, 3, 0.2f);
  const auto written = memory->write(q, q, 7);
  EXPECT_EQ(written.slot, 0);
  EXPECT_EQ(memory->size(), 3);
  const double near = std::exp(std::cos(0.2) / 0.1), w = near / (near + 2), x = 1 + 0.2 * w * std::cos(0.2),
               y = 0.2 * w * std::sin(0.2);
  EXPECT_NEAR(memory->key(0)[3], y / std::hypot(x, y), 1e-6);
  EXPECT_NEAR(memory->key(1)[1], 1, 1e-4);
}

TEST_F(EpisodicMemoryTest, ForgetsAndRestores) {
  write(axis(0), 3), write(axis(1), 4);
  memory->set_label(1, "a bicycle");
  const Episode saved = memory->slot(1);
  const std::vector<float> key(memory->key(1).begin(), memory->key(1).end());
  memory->forget(1);
  EXPECT_EQ(memory->size(), 1);
  EXPECT_THROW(memory->forget(1), Error);
  EXPECT_THROW(memory->touch(-1, 0), Error);
  memory->restore(2, saved, key, key);
  EXPECT_THROW(memory->restore(2, Episode{}, key, key), Error);
  EXPECT_EQ(memory->slot(2).label(), "a bicycle");
  EXPECT_EQ(memory->slot(2).created_ms, 4);
  EXPECT_THROW(memory->restore(3, saved, key, key), Error);
  EXPECT_THROW(memory->restore(0, saved, std::vector<float>(3), key), Error);
  EXPECT_THROW(memory->restore(0, saved, std::vector<float>(4, NAN), key), Error);
  memory->forget_all();
  EXPECT_EQ(memory->size(), 0);
}

TEST_F(EpisodicMemoryTest, IdsAreNeverUsedAgain) {
  EXPECT_EQ(write(axis(0)).id, 1u);
  EXPECT_EQ(write(axis(1)).id, 2u);
  EXPECT_EQ(write(axis(1)).id, 2u);  // known: the same episode
  EXPECT_EQ(memory->find(2), 1);
  memory->forget(1);
  EXPECT_EQ(memory->find(2), -1);
  EXPECT_EQ(memory->find(0), -1);
  EXPECT_EQ(memory->value(1)[1], 0);  // gone from memory as well
  EXPECT_EQ(write(axis(2)).id, 3u);
  EXPECT_EQ(memory->find(3), 1);  // in the freed slot
  write(axis(3));
  const auto replacing = write(between(0, 1, 0.8f));
  EXPECT_EQ(replacing.outcome, EpisodicMemory::Outcome::replaced);
  EXPECT_EQ(replacing.id, 5u);
  EXPECT_EQ(replacing.replaced_id, 1u);
  EXPECT_NEAR(replacing.similarity, std::cos(0.8), 1e-6);
  memory->forget_all();
  EXPECT_EQ(write(axis(0)).id, 6u);
}

TEST_F(EpisodicMemoryTest, RecallGoesNoLowerThanAsked) {
  write(axis(0)), write(axis(1)), write(axis(2));
  std::vector<Match> out(3);
  EXPECT_EQ(memory->recall(between(0, 1, 0.3f), out, 0.5f), 1);
  EXPECT_EQ(memory->slot(out[0].slot).id, 1u);
  // Equals in the order of their slots, also where not all of them have room.
  ASSERT_EQ(memory->recall(axis(3), std::span(out).first(2)), 2);
  EXPECT_EQ(out[0].slot, 0);
  EXPECT_EQ(out[1].slot, 1);
}

TEST_F(EpisodicMemoryTest, ReadsOnlyWhatIsNearEnough) {
  EpisodicMemory::Settings settings{.slots = 3, .width = 4, .read_threshold = 0.6f};
  Arena other;
  EpisodicMemory(settings, kernels(), other);
  other.commit();
  EpisodicMemory near(settings, kernels(), other);
  near.write(axis(0), axis(2), 0);
  near.write(axis(1), axis(3), 0);
  std::vector<float> out(4);
  ASSERT_TRUE(near.read(between(0, 1, 0.4f), out));
  EXPECT_EQ(out, axis(2));
  EXPECT_FALSE(near.read(axis(3), out));  // as if it were empty
}

TEST_F(EpisodicMemoryTest, TeachingNamesAndStrengthens) {
  write(axis(0), 1);
  const auto named = memory->teach(between(0, 1, 0.1f), axis(0), "my red mug", 2);  // known, without a name
  EXPECT_EQ(named.outcome, EpisodicMemory::Outcome::blended);
  EXPECT_EQ(named.id, 1u);
  EXPECT_EQ(memory->slot(0).label(), "my red mug");
  EXPECT_EQ(memory->slot(0).strength, 2);
  EXPECT_EQ(memory->teach(axis(0), axis(0), "my red mug", 3).id, 1u);
  EXPECT_EQ(memory->slot(0).strength, 3);
  // Another name for what looks the same is another episode.
  const auto other = memory->teach(axis(0), axis(0), "your red mug", 4);
  EXPECT_EQ(other.outcome, EpisodicMemory::Outcome::added);
  EXPECT_EQ(memory->teach(axis(0), axis(0), "your red mug", 4).id, other.id);
  EXPECT_THROW(memory->teach(axis(0), axis(0), "", 0), Error);
  EXPECT_THROW(memory->teach(axis(0), axis(0), "\xff", 0), Error);
  EXPECT_EQ(memory->size(), 2);
}

TEST_F(EpisodicMemoryTest, RecognisesWhatItWasTaught) {
  EXPECT_FALSE(memory->recognise(axis(0)));
  write(axis(3));
  EXPECT_FALSE(memory->recognise(axis(3)));  // known, but without a name
  memory->teach(axis(0), axis(0), "mug", 0);
  const auto same = memory->recognise(axis(0));
  ASSERT_TRUE(same);
  EXPECT_EQ(same->label, "mug");
  EXPECT_NEAR(same->score, 1 / (1 + std::exp(-0.25 / 0.05)), 1e-5);
  const auto angle = [](double similarity) { return static_cast<float>(std::acos(similarity)); };
  EXPECT_NEAR(memory->recognise(between(0, 1, angle(0.751)))->score, 0.5, 0.01);
  EXPECT_FALSE(memory->recognise(between(0, 1, angle(0.749))));
  // A second example from the other side: what lies between them is surer, though no more similar.
  const auto between_both = between(0, 1, angle(0.751));
  const float alone = memory->recognise(between_both)->score;
  memory->teach(between(0, 1, 2 * angle(0.751)), axis(0), "mug", 0);
  EXPECT_GT(memory->recognise(between_both)->score, alone + 0.1f);
  // Torn between two names it says none.
  memory->forget_all();
  memory->teach(axis(0), axis(0), "mug", 0);
  memory->teach(between(0, 1, 0.6f), axis(0), "cup", 0);
  EXPECT_FALSE(memory->recognise(between(0, 1, 0.3f)) && memory->recognise(between(0, 1, 0.3f))->score > 0.51f);
  EXPECT_EQ(memory->recognise(between(0, 1, 0.55f))->label, "cup");
}

// A search skips what its bounds rule out; the result is that of looking at every slot, to the bit.
TEST(EpisodicMemorySearchTest, IsExact) {
  for (const Kernels* table : available_kernels()) {
    for (const int width : {4, 20, 128}) {
      Random random(width);
      const EpisodicMemory::Settings settings{.slots = 3000, .width = width};
      Arena arena;
      EpisodicMemory(settings, *table, arena);
      arena.commit();
      EpisodicMemory memory(settings, *table, arena);
      // Far apart, close together (as photos of one room are), equal, shorter than they should be, holes between.
      const auto vector = [&](float spread, float length) {
        std::vector<float> v(width, 1);
        for (float& x : v) x += spread * (static_cast<float>(random.uniform()) - 0.5f);
        const float norm = std::sqrt(table->dot(v.data(), v.data(), width)) / length;
        for (float& x : v) x /= norm;
        return v;
      };
      for (int i = 0; i < 3000; ++i) {
        const float spreads[] = {100, 1, 1e-4f, 0};
        const auto v = vector(spreads[i / 50 % 4], i % 7 ? 1.0f : 0.2f);
        if (i % 11) memory.restore(i, {.id = i + 1u}, v, v);
      }
      for (const float spread : {100.0f, 1.0f, 0.0f}) {
        const auto query = vector(spread, 1);
        std::vector<Match> all;
        for (int i = 0; i < memory.capacity(); ++i) {
          if (memory.occupied(i)) all.push_back({i, table->dot(query.data(), memory.key(i).data(), width)});
        }
        std::stable_sort(all.begin(), all.end(), [](auto& a, auto& b) { return a.similarity > b.similarity; });
        for (const std::size_t k : {1, 10, 700, 3000}) {
          for (const float least : {-2.0f, 0.9f, 0.99999f}) {
            std::vector<Match> got(k);
            got.resize(memory.recall(query, got, least));
            const auto reached = std::count_if(all.begin(), all.end(), [&](auto& m) { return m.similarity >= least; });
            ASSERT_EQ(got.size(), std::min(k, static_cast<std::size_t>(reached)));
            for (std::size_t i = 0; i < got.size(); ++i) {
              ASSERT_EQ(got[i].slot, all[i].slot) << table->name << " width " << width << " k " << k << " at " << i;
              ASSERT_EQ(got[i].similarity, all[i].similarity);
            }
          }
        }
      }
    }
  }
}

TEST_F(EpisodicMemoryTest, RefusesWhatIsNoEpisode) {
  EXPECT_THROW(write({1, 0, 0}), Error);
  EXPECT_THROW(write({1, 1, 0, 0}), Error);
  EXPECT_THROW(write({NAN, 0, 0, 0}), Error);
  EXPECT_THROW(write(axis(0), NAN), Error);
  Match match;
  EXPECT_THROW(memory->recall(std::vector<float>{1, 0}, {&match, 1}), Error);
  EXPECT_THROW(memory->recognise(std::vector<float>{INFINITY, 0, 0, 0}), Error);
  EXPECT_EQ(memory->sequence(), 0u);
}

}  // namespace
}  // namespace bitmar
