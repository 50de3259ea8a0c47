// What goes on from a prefix: CaptionOptions::prefix, with and without an image.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/error.h"
#include "tiny_model.h"

namespace bitmar {
namespace {

struct CompleteTest : testing::Test {
  Golden golden;
  std::unique_ptr<Engine> engine = load_tiny();
  std::vector<std::uint8_t> pixels = golden.values<std::uint8_t>("pixels");
  ImageView image{pixels.data(), 32, 32, 3};

  std::string code(const CaptionOptions& options) {
    try {
      engine->caption_text(options);
    } catch (const Error& error) {
      return std::string(to_string(error.code()));
    }
    return "none";
  }
};

// Where the prefix is what the model would have said, it says the rest.
TEST_F(CompleteTest, GoesOnFromItsOwnWords) {
  for (const Kernels* kernels : available_kernels()) {
    const auto other = load_tiny(*kernels);
    const CaptionResult whole = other->caption(image, {.max_tokens = 12});
    const std::vector<int>& tokens = whole.tokens;
    ASSERT_GT(tokens.size(), 6u);
    int compared = 0;
    for (std::size_t cut = 0; cut < tokens.size(); ++cut) {
      const std::string prefix = other->tokenizer().decode(std::span(tokens).first(cut));
      if (other->tokenizer().encode(prefix) != std::vector(tokens.begin(), tokens.begin() + static_cast<int>(cut)))
        continue;  // the same text in other tokens
      const CaptionResult rest = other->caption(image, {.max_tokens = 12 - static_cast<int>(cut), .prefix = prefix});
      EXPECT_EQ(rest.tokens, std::vector(tokens.begin() + static_cast<int>(cut), tokens.end()))
          << kernels->name << " " << cut;
      EXPECT_EQ(prefix + rest.text, whole.text);
      ++compared;
    }
    EXPECT_GT(compared, 2) << kernels->name;
  }
}

TEST_F(CompleteTest, IsAsLikelyAsItsScore) {
  int compared = 0;
  for (const bool sees : {true, false}) {
    for (const std::string prefix : {"", "a", "a dog", "two men in a red shirt are on the", "a boy"}) {
      const CaptionOptions options{.max_tokens = 3, .prefix = prefix};
      const CaptionResult said = sees ? engine->caption(image, options) : engine->caption_text(options);
      if (said.tokens.size() < 3) continue;  // its end counts too
      const Score score = engine->score(sees ? &image : nullptr, prefix, std::vector{said.text}).at(0);
      if (score.tokens != said.tokens) continue;  // the same text in other tokens
      EXPECT_NEAR(said.log_probability, score.log_probability, 1e-5);
      ++compared;
    }
  }
  EXPECT_GT(compared, 2);
}

TEST_F(CompleteTest, StreamsPastTheWindow) {
  const auto& decoder = engine->config().decoder;
  const int rows = decoder.num_sinks + decoder.window_size;
  std::string prefix = "two";
  while (static_cast<int>(engine->tokenizer().encode(prefix).size()) < rows + 9) prefix += " dogs run";
  const CaptionOptions options{.max_tokens = 3 * rows, .temperature = 1.5F, .seed = 3, .prefix = prefix};
  std::string pieces;
  const CaptionResult said = engine->caption_text(options, [&](std::string_view piece) {
    pieces += piece;
    return true;
  });
  EXPECT_EQ(pieces, said.text);
  EXPECT_EQ(engine->caption_text(options).tokens, said.tokens);
  EXPECT_GT(said.tokens.size(), 2u);
}

TEST_F(CompleteTest, IsStoppedWhileItReads) {
  int calls = 0;
  const CaptionResult said = engine->caption_text({.prefix = std::string(kMostText, 'a')}, [&](std::string_view piece) {
    EXPECT_EQ(piece, "");
    return ++calls < 3;
  });
  EXPECT_TRUE(said.aborted);
  EXPECT_EQ(calls, 3);
  EXPECT_TRUE(said.tokens.empty());
}

TEST_F(CompleteTest, LeavesNothingBehind) {
  const CaptionResult before = engine->caption(image, {.max_tokens = 8});
  const CaptionResult beams = engine->caption(image, {.max_tokens = 8, .num_beams = 3});
  engine->caption(image, {.prefix = "a man in a red shirt"});
  EXPECT_EQ(engine->caption(image, {.max_tokens = 8}).tokens, before.tokens);
  engine->caption_text({.prefix = "a man"});
  EXPECT_EQ(engine->caption(image, {.max_tokens = 8, .num_beams = 3}).tokens, beams.tokens);
}

// The fit knows whole captions.
TEST_F(CompleteTest, HasNoConfidence) {
  ModelDirectory directory = read_model_directory(tiny_folder());
  auto config = nlohmann::json::parse(directory.config_json);
  config["confidence"] = {{"slope", 0.5}, {"similarity", 2.0}, {"offset", 0.1}};
  directory.config_json = config.dump();
  const auto calibrated = Engine::load(files_of(directory));
  EXPECT_TRUE(calibrated->caption(image, {.max_tokens = 3}).confidence);
  EXPECT_FALSE(calibrated->caption(image, {.max_tokens = 3, .prefix = "a"}).confidence);
}

TEST_F(CompleteTest, RefusesWhatItCannotGoOnFrom) {
  EXPECT_EQ(code({.num_beams = 2, .prefix = "a"}), "invalid_argument");
  EXPECT_EQ(code({.prefix = std::string(kMostRead + 1, 'a')}), "text_too_long");
  EXPECT_EQ(code({.prefix = "\xFF"}), "invalid_text");
  EXPECT_EQ(code({.max_tokens = 1, .prefix = std::string(kMostText + 1, 'a')}), "none") << "longer than a prompt";
}

}  // namespace
}  // namespace bitmar
