// Elementary functions, random numbers, sampling and beam search.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <vector>

#include "kernels/kernels.h"
#include "runtime/beam_search.h"
#include "runtime/elementary.h"
#include "runtime/random.h"
#include "runtime/sampler.h"

namespace bitmar {
namespace {

TEST(Elementary, AgreesWithTheCLibrary) {
  for (double x :
       {5e-324, 1e-310, 1e-300, 1e-9, 0.3, 0.70710678, 0.99999, 1.0, 1.4142135623730951, 2.0, 24.0, 1e5, 1e300}) {
    EXPECT_NEAR(natural_log(x), std::log(x), 1e-15 + std::abs(std::log(x)) * 4e-16) << x;
  }
  for (double x : {-650.0, -20.0, -0.34, 0.0, 1e-12, 0.5, 1.0, 3.17, 100.0, 690.0}) {
    EXPECT_NEAR(natural_exp(x) / std::exp(x), 1, 1e-13) << x;
  }
  EXPECT_EQ(natural_log(1), 0);
  EXPECT_EQ(natural_exp(0), 1);
  EXPECT_EQ(natural_log(0), -std::numeric_limits<double>::infinity());
}

TEST(Random, IsTheSameEverywhere) {
  // Computed with Python's integers from the formula of the paper.
  Random a(42);
  for (std::uint32_t wanted : {3270867926u, 1795671209u, 1924641435u, 1143034755u}) EXPECT_EQ(a.next(), wanted);
  double sum = 0;
  for (int i = 0; i < 20000; ++i) {
    const double u = a.uniform();
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    sum += u;
  }
  EXPECT_NEAR(sum / 20000, 0.5, 0.01);
}

// Builds T in its own arena, planned and committed.
template <class T>
struct Planned {
  template <class... Args>
  explicit Planned(Args... args) {
    T(args..., arena);
    arena.commit();
    value = std::make_unique<T>(args..., arena);
  }
  T* operator->() { return value.get(); }
  Arena arena;
  std::unique_ptr<T> value;
};

TEST(Sampler, GreedyTakesTheFirstOfTheLargest) {
  Planned<Sampler> sampler(5);
  sampler->start({}, 0);
  const std::vector<float> logits{1, 3, -2, 3, 0};
  const auto choice = sampler->choose(kernels(), logits);
  EXPECT_EQ(choice.token, 1);
  double sum = 0;
  for (float l : logits) sum += std::exp(l);
  EXPECT_NEAR(choice.log_probability, 3 - std::log(sum), 1e-6);
}

TEST(Sampler, DrawsInProportionAndRepeatsItself) {
  Planned<Sampler> sampler(4);
  const std::vector<float> logits{0, std::log(2.0f), std::log(5.0f), -100};
  const auto frequencies = [&](Sampling how, std::uint64_t seed) {
    std::map<int, int> seen;
    sampler->start(how, seed);
    for (int i = 0; i < 8000; ++i) ++seen[sampler->choose(kernels(), logits).token];
    return seen;
  };
  auto plain = frequencies({.temperature = 1}, 5);
  EXPECT_NEAR(plain[0], 1000, 120);
  EXPECT_NEAR(plain[1], 2000, 150);
  EXPECT_NEAR(plain[2], 5000, 200);
  EXPECT_EQ(plain, frequencies({.temperature = 1}, 5));
  EXPECT_NE(plain, frequencies({.temperature = 1}, 6));
  // 5/8 is not enough for 0.7, 7/8 is: the third token is cut off, the rest renormalised.
  auto nucleus = frequencies({.temperature = 1, .top_p = 0.7f}, 5);
  EXPECT_EQ(nucleus.count(0), 0u);
  EXPECT_NEAR(nucleus[1], 8000 * 2.0 / 7, 200);
  // Nearly frozen: always the largest, without overflow.
  EXPECT_EQ(frequencies({.temperature = 1e-30f}, 1)[2], 8000);
  EXPECT_EQ(frequencies({.temperature = 1, .top_p = 1e-6f}, 1)[2], 8000);
}

// A language of three words whose next-word logits depend on the words so far.
using Language = std::function<std::vector<float>(const std::vector<int>&)>;

struct Found {
  std::vector<int> tokens;
  double score, log_probability;
  int steps;
};

Found search(const Language& language, int vocabulary, BeamSearch::Settings settings) {
  Planned<BeamSearch> beam(vocabulary, settings.beams * settings.max_tokens);
  // The language reads what a decoder would: the tokens stored in the rows that a hypothesis sees.
  std::vector<int> stored(settings.beams * settings.max_tokens, -1);
  beam->start(settings);
  int steps = 0;
  for (bool more = true; more; ++steps) {
    std::vector<float> logits;
    for (int h = 0; h < beam->live(); ++h) stored[beam->row(h)] = beam->token(h);
    for (int h = 0; h < beam->live(); ++h) {
      std::vector<int> words;
      for (int row : beam->rows(h)) words.push_back(stored[row]);
      EXPECT_EQ(static_cast<int>(words.size()), steps + 1);
      EXPECT_EQ(words[0], settings.begin_token);
      const auto l = language({words.begin() + 1, words.end()});
      logits.insert(logits.end(), l.begin(), l.end());
    }
    more = beam->step(kernels(), logits);
  }
  EXPECT_GE(beam->found(), 1);
  EXPECT_LE(beam->found(), settings.beams);
  for (int rank = 1; rank < beam->found(); ++rank) {
    EXPECT_GE(beam->score(rank - 1), beam->score(rank));
    EXPECT_LE(beam->log_probability(rank), 0);
    EXPECT_LE(static_cast<int>(beam->tokens(rank).size()), settings.max_tokens);
    for (int before = 0; before < rank; ++before)
      EXPECT_FALSE(std::ranges::equal(beam->tokens(before), beam->tokens(rank)));
  }
  return {{beam->tokens().begin(), beam->tokens().end()}, beam->score(), beam->log_probability(), steps};
}

// Words 2.. of a random but fixed language; 1 ends, 0 begins.
std::vector<float> babble(const std::vector<int>& words, int vocabulary) {
  std::uint64_t seed = 17;
  for (int w : words) seed = seed * 31 + w + 1;
  Random random(seed);
  std::vector<float> logits(vocabulary);
  for (float& l : logits) l = static_cast<float>(random.uniform() * 4);
  logits[0] = -20;
  return logits;
}

TEST(BeamSearch, FindsTheBestOfAllWhenWideEnough) {
  const int vocabulary = 4, longest = 3;  // at most 2 + 4 live hypotheses matter with 8 beams
  for (double penalty : {0.0, 1.0, 2.0}) {
    double best = -1e9;
    std::vector<int> best_words;
    const std::function<void(const std::vector<int>&, double)> visit = [&](const std::vector<int>& words,
                                                                           double total) {
      if (static_cast<int>(words.size()) == longest) {
        const double s = total / std::pow(longest, penalty);
        if (s > best) best = s, best_words = words;
        return;
      }
      const auto logits = babble(words, vocabulary);
      double sum = 0;
      for (float l : logits) sum += std::exp(l);
      for (int w = 1; w < vocabulary; ++w) {
        const double next = total + logits[w] - std::log(sum);
        if (w == 1) {
          const double s = next / std::pow(static_cast<double>(words.size() + 1), penalty);
          if (s > best) best = s, best_words = words;
          continue;
        }
        auto longer = words;
        longer.push_back(w);
        visit(longer, next);
      }
    };
    visit({}, 0);
    const Found found = search([&](const auto& w) { return babble(w, vocabulary); }, vocabulary,
                               {.beams = 8, .max_tokens = longest, .length_penalty = penalty, .end_token = 1});
    EXPECT_EQ(found.tokens, best_words) << penalty;
    EXPECT_NEAR(found.score, best, 1e-5) << penalty;
  }
}

TEST(BeamSearch, OneBeamIsGreedyUntilTheEndIsBest) {
  const Language language = [](const std::vector<int>& words) {
    return words.size() < 3 ? std::vector<float>{-9, 0, 2, 1} : std::vector<float>{-9, 5, 0, 1};
  };
  const Found found = search(language, 4, {.beams = 1, .max_tokens = 10, .end_token = 1});
  EXPECT_EQ(found.tokens, (std::vector<int>{2, 2, 2}));
}

TEST(Guide, IsACosineOfDistinctTokens) {
  const std::vector<float> weight{0, 1, 2, 3, 0}, unit{0, 0.6f, 0.8f, 0, 0};
  std::vector<float> value, square;
  for (int v = 0; v < 5; ++v) value.push_back(weight[v] * unit[v]), square.push_back(weight[v] * weight[v]);
  const Guide guide(value, square);
  const auto cosine = [&](std::vector<int> tokens) { return guide.cosine(tokens); };
  EXPECT_EQ(cosine({}), 0);
  EXPECT_EQ(cosine({0, 4}), 0);  // weigh nothing
  EXPECT_NEAR(cosine({2}), 0.8, 1e-6);
  EXPECT_NEAR(cosine({1, 2}), (0.6 + 1.6) / std::sqrt(5.0), 1e-6);
  EXPECT_EQ(cosine({1, 2}), cosine({2, 1, 1, 2, 4}));
  EXPECT_NEAR(cosine({2, 3}), 1.6 / std::sqrt(13.0), 1e-6);
  EXPECT_EQ(Guide().cosine(std::vector<int>{1, 2}), 0);
}

TEST(BeamSearch, AGuideChangesWhatLivesOn) {
  // 3 is a little less likely than 2; guidance is too weak to say it twice, which makes no difference to the guide.
  const Language language = [](const std::vector<int>& words) {
    if (words.size() < 2) return std::vector<float>{-9, -9, 1, 0.5, -9};
    return std::vector<float>{-9, 5, 0, 0, -9};
  };
  const std::vector<float> value{0, 0, 0, 1, 0}, square{0, 0, 1, 1, 0};
  BeamSearch::Settings settings{.beams = 1, .max_tokens = 5, .end_token = 1, .guide = Guide(value, square)};
  EXPECT_EQ(search(language, 5, settings).tokens, (std::vector<int>{2, 2}));
  settings.guidance = 0.4;  // less than what 3 lacks
  EXPECT_EQ(search(language, 5, settings).tokens, (std::vector<int>{2, 2}));
  settings.guidance = 0.6;
  const Found found = search(language, 5, settings);
  EXPECT_EQ(found.tokens, (std::vector<int>{3, 2}));
  // The score is the likelihood's alone.
  EXPECT_NEAR(found.score * 3, found.log_probability, 1e-9);
  EXPECT_LT(found.log_probability, search(language, 5, {.beams = 1, .max_tokens = 5, .end_token = 1}).log_probability);
  // A guide that wants nothing changes nothing.
  settings.guide = {};
  EXPECT_EQ(search(language, 5, settings).tokens, (std::vector<int>{2, 2}));
}

TEST(BeamSearch, StopsAtTheLimitWithoutAnEnd) {
  const Found found = search([](const auto&) { return std::vector<float>{-9, -50, 1, 2}; }, 4,
                             {.beams = 3, .max_tokens = 5, .end_token = 1});
  EXPECT_EQ(found.tokens, (std::vector<int>{3, 3, 3, 3, 3}));
  EXPECT_EQ(found.steps, 5);
  EXPECT_NEAR(found.score * 5, found.log_probability, 1e-9);
}

}  // namespace
}  // namespace bitmar
