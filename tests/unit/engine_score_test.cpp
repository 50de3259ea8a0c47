// Engine::score() against PyTorch (models/bitmar/eval/golden.py), and against itself.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "io/error.h"
#include "tiny_model.h"

namespace bitmar {
namespace {

struct ScoreTest : testing::Test {
  Golden golden;
  std::unique_ptr<Engine> engine = load_tiny();
  std::vector<std::uint8_t> pixels = golden.values<std::uint8_t>("pixels");
  ImageView image{pixels.data(), 32, 32, 3};
  const std::vector<std::string> some{" runs", " in a red shirt", " is on the water"};

  Score alone(const ImageView* seen, const std::string& prefix, const std::string& text) {
    return engine->score(seen, prefix, std::vector{text}).at(0);
  }
};

TEST_F(ScoreTest, IsThatOfPyTorch) {
  const std::string prefix = golden.text("score_prefix");
  std::vector<std::string> continuations;
  for (const char* i : {"0", "1", "2"}) continuations.push_back(golden.text(std::string("score_continuation/") + i));
  for (const Kernels* kernels : available_kernels()) {
    const auto other = load_tiny(*kernels);
    for (const std::string name : {"image", "text"}) {
      const auto scores = other->score(name == "image" ? &image : nullptr, prefix, continuations);
      ASSERT_EQ(scores.size(), 3u);
      for (std::size_t i = 0; i < scores.size(); ++i) {
        const auto wanted = golden.values<float>("score_" + name + "/" + std::to_string(i));
        ASSERT_EQ(scores[i].log_probabilities.size(), wanted.size());
        for (std::size_t at = 0; at < wanted.size(); ++at) {
          EXPECT_NEAR(scores[i].log_probabilities[at], wanted[at], 1e-3) << kernels->name << " " << name;
        }
      }
    }
  }
}

TEST_F(ScoreTest, SumsAndNormalises) {
  for (const Score& score : engine->score(&image, "a dog", some)) {
    const auto& each = score.log_probabilities;
    ASSERT_EQ(each.size(), score.tokens.size());
    EXPECT_NEAR(score.log_probability, std::accumulate(each.begin(), each.end(), 0.0), 1e-12);
    EXPECT_DOUBLE_EQ(score.per_token, score.log_probability / static_cast<double>(each.size()));
  }
  // Bytes as they were given: an umlaut has two.
  const Score umlaut = alone(nullptr, "", "\xC3\xA4 dog");
  EXPECT_DOUBLE_EQ(umlaut.per_byte, umlaut.log_probability / 6);
}

// Likely next tokens are no likelier together than 1, and the likeliest is the one that greedy captions say.
TEST_F(ScoreTest, FirstTokensShareOneProbability) {
  std::vector<std::string> letters;
  for (char c = 'a'; c <= 'z'; ++c) letters.emplace_back(1, c);
  double sum = 0;
  for (const Score& score : engine->score(nullptr, "the dog", letters)) sum += std::exp(score.log_probability);
  EXPECT_GT(sum, 0);
  EXPECT_LT(sum, 1);
  const CaptionResult said = engine->caption(image, {.max_tokens = 1});
  const std::string text = engine->tokenizer().decode(said.tokens);
  const Score same = alone(&image, "", text);
  if (same.tokens == said.tokens) {  // it may be half a character
    EXPECT_NEAR(same.log_probability, said.log_probability, 1e-6);
  }
}

// Whatever is scored before and beside it, in whatever order: bit for bit. The window of the tiny model is 32 long; a
// continuation that makes it slide spoils the prefix for the next.
TEST_F(ScoreTest, IsTheSameAloneAndAmongOthers) {
  const std::string sentence = " a dog runs on the grass and a boy in a red shirt is on the beach";
  for (const std::string& prefix : {std::string(), std::string("a dog"), sentence.substr(1), sentence + sentence}) {
    std::vector<std::string> texts{sentence, " runs", sentence + sentence, " runs", " in the snow"};
    for (const bool small : {false, true}) {
      const LoadOptions options{.int8_kv_cache = small};
      const ImageView* const seen = small ? &image : nullptr;
      const auto together = load_tiny(kernels(), options)->score(seen, prefix, texts);
      EXPECT_EQ(together[1].log_probabilities, together[3].log_probabilities);
      for (std::size_t i = 0; i < texts.size(); ++i) {
        const auto fresh = load_tiny(kernels(), options);
        EXPECT_EQ(fresh->score(seen, prefix, std::vector{texts[i]})[0].log_probabilities, together[i].log_probabilities)
            << prefix << "|" << texts[i];
      }
    }
  }
}

// p(a b) = p(a) p(b | a), also where the window slides: the stream is the same.
TEST_F(ScoreTest, IsAChain) {
  const std::string first = " a dog runs on the grass and a boy in a red shirt",
                    second = " is on the beach with a ball";
  const auto whole = alone(&image, "two", first + second).log_probabilities;
  auto parts = alone(&image, "two", first).log_probabilities;
  const auto rest = alone(&image, "two" + first, second).log_probabilities;
  parts.insert(parts.end(), rest.begin(), rest.end());
  ASSERT_GT(parts.size(), 32u);
  EXPECT_EQ(parts, whole);
}

// With its end: as a caption's own.
TEST_F(ScoreTest, CountsTheEnd) {
  for (const std::string& text : some) {
    const Score open = alone(&image, "a dog", text);
    const Score ended = engine->score(&image, "a dog", std::vector{text}, {.end = true}).at(0);
    ASSERT_EQ(ended.tokens.size(), open.tokens.size() + 1);
    EXPECT_EQ(ended.tokens.back(), 2);
    EXPECT_LT(ended.log_probability, open.log_probability);
    EXPECT_TRUE(std::equal(open.tokens.begin(), open.tokens.end(), ended.tokens.begin()));
    // p(end | text), as the next token after the same stream
    const auto after = engine->score(&image, "a dog" + text, std::vector<std::string>{"x"}, {.end = true});
    EXPECT_EQ(ended.log_probabilities.size(), ended.tokens.size());
    EXPECT_EQ(after[0].tokens.size(), 2u);
  }
}

// A prefix longer than the window is read once, however many continuations there are.
TEST_F(ScoreTest, ALongPrefixIsReadOnce) {
  std::string prefix = "a dog";
  while (prefix.size() < 3000) prefix += " runs on the grass and";
  struct Counter : Observer {
    void accumulators(std::string_view layer, const std::int32_t*, int, int) override {
      steps += layer == "decoder.layers.0.attention.q_proj";
    }
    void values(std::string_view, const float*, int, int) override {}
    int steps = 0;
  } one, many;
  engine->model().set_observer(&one);
  engine->score(nullptr, prefix, std::vector<std::string>{" dog"});
  engine->model().set_observer(&many);
  engine->score(nullptr, prefix, std::vector<std::string>(20, " dog runs"));
  engine->model().set_observer(nullptr);
  EXPECT_GT(one.steps, 500);
  EXPECT_LE(many.steps, one.steps + 20 * 4);
}

TEST_F(ScoreTest, AnImageMatters) {
  EXPECT_NE(alone(&image, "a", " dog").log_probability, alone(nullptr, "a", " dog").log_probability);
}

TEST_F(ScoreTest, ChangesNoCaption) {
  const CaptionResult before = engine->caption(image, {.max_tokens = 8});
  engine->score(nullptr, "a dog", some);
  EXPECT_THROW(engine->remember(0, ""), Error);
  const CaptionResult after = engine->caption(image, {.max_tokens = 8});
  EXPECT_EQ(after.tokens, before.tokens);
  EXPECT_EQ(after.log_probability, before.log_probability);
}

TEST_F(ScoreTest, RefusesWhatIsWrong) {
  const auto code = [&](std::string_view prefix, const std::vector<std::string>& texts) {
    try {
      engine->score(nullptr, prefix, texts);
    } catch (const Error& error) {
      return std::string(to_string(error.code()));
    }
    return std::string("nothing");
  };
  EXPECT_EQ(code("a", {}), "invalid_argument");
  EXPECT_EQ(code("a", {" dog", ""}), "invalid_argument");
  EXPECT_EQ(code("a", {"\xff"}), "invalid_text");
  EXPECT_EQ(code("\xff", {"a"}), "invalid_text");
  EXPECT_EQ(code(std::string(kMostRead + 1, 'a'), {"a"}), "text_too_long");
  EXPECT_EQ(code("a", {std::string(kMostRead + 1, 'a')}), "text_too_long");
  EXPECT_EQ(code("", {"a"}), "nothing");
}

}  // namespace
}  // namespace bitmar
