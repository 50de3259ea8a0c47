// What Engine::explain() tells of a caption, and that captions know nothing of it.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <set>

#include "io/error.h"
#include "tiny_model.h"

namespace bitmar {
namespace {

struct ExplainTest : testing::Test {
  Golden golden;
  std::unique_ptr<Engine> engine = load_tiny();
  std::vector<std::uint8_t> pixels = golden.values<std::uint8_t>("pixels");
  ImageView image{pixels.data(), 32, 32, 3};

  void remember(int count) {
    const auto keys = golden.values<float>("memory_keys"), values = golden.values<float>("memory_values");
    const std::size_t width = engine->memory().settings().width;
    for (int i = 0; i < count; ++i) {
      engine->memory().restore(7 - i, {.id = static_cast<std::uint64_t>(i) + 11},
                               std::span(keys).subspan(i * width, width), std::span(values).subspan(i * width, width));
    }
  }
};

float whole(const ExplainedWord& word) {
  return std::accumulate(word.patches.begin(), word.patches.end(), word.prompt + word.memory + word.before);
}

TEST_F(ExplainTest, AttentionIsDividedAmongAllThatIsThere) {
  remember(4);
  for (const bool memory : {false, true}) {
    const Explanation told = engine->explain(image, "a dog, on the sand", {.prompt = "two", .read_memory = memory});
    EXPECT_EQ(told.side, 2);
    ASSERT_EQ(told.words.size(), 5u);
    EXPECT_EQ(told.words[1].text, "dog,");
    EXPECT_EQ(told.words[4].text, "sand");
    for (const ExplainedWord& word : told.words) {
      EXPECT_EQ(word.patches.size(), 4u);
      EXPECT_NEAR(whole(word), 1, 1e-5);
      EXPECT_EQ(word.memory > 0, memory);
      EXPECT_GT(word.prompt, 0);
      EXPECT_GT(word.before, 0);
      EXPECT_GT(word.probability, 0);
      EXPECT_LT(word.probability, 1);
    }
    EXPECT_EQ(told.memory.size(), memory ? 4u : 0u);
  }
}

// The words' probabilities are those that the caption was found with.
TEST_F(ExplainTest, ProbabilitiesAreThoseOfTheCaption) {
  for (const std::string prompt : {"", "a dog"}) {
    const std::string text = "a dog runs";
    const Explanation told = engine->explain(image, text, {.prompt = prompt});
    BitMar& model = engine->model();
    std::vector<int> tokens = engine->tokenizer().encode(prompt), said = engine->tokenizer().encode(text);
    tokens.insert(tokens.begin(), 1), said.insert(said.begin(), 1);
    std::vector<std::uint8_t> rgb = pixels;
    const Picture picture = model.encode(rgb.data());
    model.prefill(model.fuse(&picture, tokens), &picture, std::nullopt);
    double wanted = 0, got = 0;
    for (std::size_t i = 1; i < said.size(); ++i) {
      const auto logits = model.decode(said[i - 1]);
      double sum = 0;
      for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - logits[said[i]]);
      wanted -= std::log(sum);
    }
    for (const ExplainedWord& word : told.words) got += std::log(word.probability);
    EXPECT_NEAR(got, wanted, 1e-4);
  }
}

TEST_F(ExplainTest, ExpectedWordsAreThoseThatCountMost) {
  const Explanation told = engine->explain(image, "a dog", {.expected = 5});
  ASSERT_EQ(told.expected.size(), 5u);
  std::set<std::string> texts;
  const Explanation more = engine->explain(image, "a dog", {.expected = kMostExpected});
  for (std::size_t i = 0; i < told.expected.size(); ++i) {
    EXPECT_TRUE(texts.insert(told.expected[i].text).second);
    EXPECT_EQ(more.expected[i].text, told.expected[i].text);
    EXPECT_GT(told.expected[i].probability, 0);
    EXPECT_LT(told.expected[i].probability, 1);
  }
  EXPECT_GT(more.expected.size(), 5u);
  EXPECT_TRUE(engine->explain(image, "a dog", {.expected = 0}).expected.empty());
}

TEST_F(ExplainTest, EpisodesComeByTheirShare) {
  EXPECT_TRUE(engine->explain(image, "a dog", {.read_memory = true}).memory.empty());
  remember(5);
  const Explanation told = engine->explain(image, "a dog", {.read_memory = true});
  ASSERT_EQ(told.memory.size(), 5u);
  // PyTorch's, of slots 7, 6, 5, 4 and 3, which have the ids 11, 12 ...
  const auto shares = golden.values<float>("plain/memory_shares");
  float sum = 0, last = 1;
  for (const EpisodeRead& read : told.memory) {
    EXPECT_NEAR(read.share, shares[static_cast<std::size_t>(read.id - 11)], 1e-5);
    EXPECT_LE(read.share, last);
    sum += last = read.share;
  }
  EXPECT_NEAR(sum, 1, 1e-5);
}

TEST_F(ExplainTest, ChangesNoCaption) {
  remember(3);
  const CaptionOptions options{.max_tokens = 8, .num_beams = 3, .read_memory = true};
  const CaptionResult before = engine->caption(image, options);
  const Explanation told = engine->explain(image, before.text, {.read_memory = true});
  EXPECT_THROW(engine->remember(0, ""), Error);  // the caption's picture was given up
  const CaptionResult after = engine->caption(image, options);
  EXPECT_EQ(after.tokens, before.tokens);
  EXPECT_EQ(after.log_probability, before.log_probability);
  EXPECT_EQ(after.confidence, before.confidence);
  const Explanation again = engine->explain(image, before.text, {.read_memory = true});
  ASSERT_EQ(again.words.size(), told.words.size());
  for (std::size_t i = 0; i < told.words.size(); ++i) {
    EXPECT_EQ(again.words[i].patches, told.words[i].patches);
    EXPECT_EQ(again.words[i].probability, told.words[i].probability);
  }
}

TEST_F(ExplainTest, ThreadsChangeNothing) {
  const auto several = load_tiny(kernels(), {.threads = 3});
  const Explanation one = engine->explain(image, "a dog on the sand"),
                    three = several->explain(image, "a dog on the sand");
  ASSERT_EQ(one.words.size(), three.words.size());
  for (std::size_t i = 0; i < one.words.size(); ++i) EXPECT_EQ(one.words[i].patches, three.words[i].patches);
}

// Part by part, as the decoder itself tells an observer of the same steps.
TEST_F(ExplainTest, PartsAreInTheirPlaces) {
  struct Listener : Observer {
    void accumulators(std::string_view, const std::int32_t*, int, int) override {}
    void values(std::string_view stage, const float* v, int, int columns) override {
      if (stage.starts_with("decoder.layers.") && stage.ends_with(".attention")) heads.emplace_back(v, v + columns);
    }
    std::vector<std::vector<float>> heads;
  } listener;
  remember(5);
  const Explanation told = engine->explain(image, "a dog", {.prompt = "two dogs", .read_memory = true});
  ASSERT_EQ(told.words.size(), 2u);

  BitMar& model = engine->model();
  std::vector<int> prompt = engine->tokenizer().encode("two dogs"), said = engine->tokenizer().encode("a dog");
  prompt.insert(prompt.begin(), 1), said.insert(said.begin(), 1);
  const int n = static_cast<int>(prompt.size());
  const Picture picture = model.encode(pixels.data());
  const Context context = model.fuse(&picture, prompt);
  model.prefill(context, &picture, model.retrieve(context));
  model.set_observer(&listener);
  for (std::size_t i = 0; i < 2; ++i) {  // one token a word
    listener.heads.clear();
    model.decode(said[i]);
    ASSERT_EQ(listener.heads.size(), 2u * 4u);  // layers and heads
    std::vector<float> mean(listener.heads[0].size());
    for (const auto& head : listener.heads) {
      for (std::size_t key = 0; key < mean.size(); ++key) mean[key] += head[key] / 8;
    }
    ASSERT_EQ(mean.size(), 1u + n + 4u + i + 1u);
    const ExplainedWord& word = told.words[i];
    EXPECT_NEAR(word.memory, mean[0], 1e-6);
    EXPECT_NEAR(word.prompt, std::accumulate(mean.begin() + 1, mean.begin() + 1 + n, 0.0f), 1e-6);
    for (int patch = 0; patch < 4; ++patch) EXPECT_NEAR(word.patches[patch], mean[1 + n + patch], 1e-6);
    EXPECT_NEAR(word.before, std::accumulate(mean.begin() + 1 + n + 4, mean.end(), 0.0f), 1e-6);
  }
  model.set_observer(nullptr);
}

TEST_F(ExplainTest, LeavesAnEpisodeOut) {
  remember(3);
  const Explanation all = engine->explain(image, "a dog", {.read_memory = true});
  const Explanation rest = engine->explain(image, "a dog", {.read_memory = true, .without_episode = all.memory[0].id});
  ASSERT_EQ(rest.memory.size(), 2u);
  for (const EpisodeRead& read : rest.memory) EXPECT_NE(read.id, all.memory[0].id);
  EXPECT_NEAR(rest.memory[0].share + rest.memory[1].share, 1, 1e-6);
  engine->memory().forget(engine->memory().find(all.memory[0].id));
  const Explanation forgotten = engine->explain(image, "a dog", {.read_memory = true});
  for (std::size_t i = 0; i < rest.words.size(); ++i) {
    EXPECT_EQ(forgotten.words[i].patches, rest.words[i].patches);
  }
  // The only one: nothing is read.
  for (const EpisodeRead& read : forgotten.memory) {
    if (read.id != forgotten.memory[0].id) engine->memory().forget(engine->memory().find(read.id));
  }
  EXPECT_TRUE(
      engine->explain(image, "a dog", {.read_memory = true, .without_episode = forgotten.memory[0].id}).memory.empty());
}

TEST_F(ExplainTest, SpacesAreOfTheWordBehindThem) {
  const auto texts = [&](std::string_view text) {
    std::vector<std::string> found;
    for (const ExplainedWord& word : engine->explain(image, text).words) found.push_back(word.text);
    return found;
  };
  using Texts = std::vector<std::string>;
  EXPECT_EQ(texts("a dog"), (Texts{"a", "dog"}));
  EXPECT_EQ(texts(" a  dog "), (Texts{"a", "dog"}));
  EXPECT_EQ(texts("a\ndog\tsits\n"), (Texts{"a", "dog", "sits"}));
  EXPECT_EQ(texts("  "), Texts{});
  EXPECT_EQ(texts("\xC3\xA9t\xC3\xA9 , ok"), (Texts{"\xC3\xA9t\xC3\xA9", ",", "ok"}));
}

TEST_F(ExplainTest, WhatIsKnownIsNotSeenAgain) {
  engine->caption(image, {});
  const std::uint64_t before = engine->model().encode(pixels.data()).id;
  engine->explain(image, "a dog");
  EXPECT_EQ(engine->model().encode(pixels.data()).id, before);
}

TEST_F(ExplainTest, NoTextHasNoWords) {
  const Explanation told = engine->explain(image, "");
  EXPECT_TRUE(told.words.empty());
  EXPECT_FALSE(told.expected.empty());
}

TEST_F(ExplainTest, RefusesWhatIsWrong) {
  const auto code = [&](std::string_view text, const ExplainOptions& options) {
    try {
      engine->explain(image, text, options);
    } catch (const Error& error) {
      return std::string(to_string(error.code()));
    }
    return std::string("nothing");
  };
  EXPECT_EQ(code("a dog", {.expected = -1}), "invalid_argument");
  EXPECT_EQ(code("a dog", {.expected = kMostExpected + 1}), "invalid_argument");
  const std::string sentence =
      "a dog runs on the grass and on the sand and in the water";  // 29 tokens; the window has 32
  EXPECT_EQ(code(sentence, {}), "nothing");
  EXPECT_EQ(code(sentence + sentence, {}), "text_too_long");
  EXPECT_EQ(code("a dog", {.prompt = std::string(kMostText + 1, 'a')}), "text_too_long");
  EXPECT_EQ(code("\xff", {}), "invalid_text");
  EXPECT_EQ(code("a dog", {}), "nothing");
}

}  // namespace
}  // namespace bitmar
