// The engine as callers use it: streaming, stopping, options, memory, and everything that may be wrong.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>

#include "count_allocations.h"
#include "io/error.h"
#include "tiny_model.h"

namespace bitmar {
namespace {

template <class F>
ErrorCode code_of(const F& f) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_STRNE(error.what(), "");
    return error.code();
  }
  ADD_FAILURE() << "nothing was thrown";
  return ErrorCode::aborted;
}

struct EngineTest : testing::Test {
  Golden golden;
  std::unique_ptr<Engine> engine = load_tiny();
  std::vector<std::uint8_t> pixels = golden.values<std::uint8_t>("pixels");
  ImageView image{pixels.data(), 32, 32, 3};
};

TEST_F(EngineTest, PiecesMakeTheTextHoweverItIsDecoded) {
  for (const CaptionOptions& options :
       {CaptionOptions{}, CaptionOptions{.temperature = 1.5f, .top_p = 0.95f, .seed = 9},
        CaptionOptions{.max_tokens = 8, .num_beams = 4}}) {
    std::string pieces;
    const auto result = engine->caption(image, options, [&](std::string_view piece) {
      pieces += piece;
      return true;
    });
    EXPECT_EQ(result.text, pieces);
    EXPECT_FALSE(result.aborted);
    EXPECT_LT(result.log_probability, 0);
    EXPECT_GT(result.vision_ms, 0);
    EXPECT_GT(result.text_ms, 0);
  }
}

TEST_F(EngineTest, TellsWhatElseTheBeamsFound) {
  const auto said = engine->caption(image, {.max_tokens = 8, .num_beams = 4});
  ASSERT_GT(said.alternatives.size(), 1u);
  std::set<std::string> texts{said.text};
  for (const Alternative& other : said.alternatives) {
    EXPECT_TRUE(texts.insert(other.text).second) << other.text;
    EXPECT_LT(other.log_probability, 0);
  }
  EXPECT_TRUE(engine->caption(image, {.max_tokens = 8}).alternatives.empty());
  EXPECT_EQ(engine->caption(image, {.max_tokens = 8, .num_beams = 4}).alternatives.size(), said.alternatives.size());
}

TEST_F(EngineTest, StepsAreTheSameAsAWholeCaption) {
  const auto whole = engine->caption(image, {.prompt = "a dog"});
  engine->begin(image, {.prompt = "two cats"});  // dropped by the next
  engine->step();
  engine->begin(image, {.prompt = "a dog"});
  std::size_t steps = 0;
  // After the last of 24 tokens there may be half a character left to say.
  while (engine->step()) EXPECT_EQ(engine->result().tokens.size(), std::min(++steps, std::size_t{24}));
  EXPECT_FALSE(engine->step());
  EXPECT_EQ(engine->result().tokens, whole.tokens);
  EXPECT_EQ(engine->result().log_probability, whole.log_probability);
}

TEST_F(EngineTest, SaysTheSameForTheSameSeedOnly) {
  CaptionOptions options{.max_tokens = 12, .temperature = 2, .seed = 1};
  const auto first = engine->caption(image, options).tokens;
  EXPECT_EQ(engine->caption(image, options).tokens, first);
  options.seed = 2;
  EXPECT_NE(engine->caption(image, options).tokens, first);
}

TEST_F(EngineTest, FalseStopsIt) {
  for (int beams : {1, 2}) {
    int calls = 0;
    const auto result = engine->caption(image, {.max_tokens = 8, .num_beams = beams, .temperature = 0},
                                        [&](std::string_view) { return ++calls < 2; });
    EXPECT_EQ(calls, 2);
    EXPECT_TRUE(result.aborted);
    EXPECT_FALSE(engine->step());
  }
}

TEST_F(EngineTest, SpeaksPastItsWindowInConstantMemory) {
  // The cache of the tiny model holds 2 + 30 positions.
  const std::size_t planned = engine->bytes().total();
  std::size_t longest = 0;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const auto result = engine->caption(image, {.max_tokens = 200, .temperature = 3, .seed = seed});
    longest = std::max(longest, result.tokens.size());
  }
  EXPECT_GT(longest, 40u);
  EXPECT_EQ(engine->bytes().total(), planned);
}

#ifndef __EMSCRIPTEN__
TEST_F(EngineTest, TokensCostNoAllocation) {
  for (const CaptionOptions& options :
       {CaptionOptions{.max_tokens = 60}, CaptionOptions{.max_tokens = 60, .temperature = 3},
        CaptionOptions{.max_tokens = 60, .temperature = 3, .top_p = 0.9f}}) {
    engine->begin(image, options);
    engine->step();
    const std::size_t before = allocations();
    int tokens = 1;
    while (engine->step()) ++tokens;
    EXPECT_EQ(allocations(), before) << "over " << tokens << " tokens";
  }
  engine->begin(image, {.prompt = "a dog", .max_tokens = 10, .num_beams = 3});
  const std::size_t before = allocations();
  for (auto piece = engine->step(); piece && piece->empty(); piece = engine->step()) {
    ASSERT_EQ(allocations(), before);
  }
}
#endif

// Whatever came before, a call gives what a fresh engine gives.
TEST_F(EngineTest, RepeatedInputsChangeNothing) {
  std::vector<std::uint8_t> other = pixels;
  other.back() ^= 1;
  const ImageView images[] = {image, {other.data(), image.width, image.height, 3}};
  const std::string prompts[] = {"", "a dog", "a cat"};
  std::uint32_t state = 1;
  const auto pick = [&](std::uint32_t n) { return ((state = state * 1664525u + 1013904223u) >> 16) % n; };
  for (int i = 0; i < 300; ++i) {
    const ImageView& seen = images[pick(2)];
    const CaptionOptions options{.prompt = prompts[pick(3)],
                                 .max_tokens = 4,
                                 .num_beams = 1 + static_cast<int>(pick(2)),
                                 .read_memory = pick(2) == 1};
    const auto fresh = load_tiny();
    const auto copy = [&](EpisodicMemory& to) {
      for (int slot = 0; slot < engine->memory().capacity(); ++slot) {
        if (engine->memory().slot(slot).id == 0) continue;
        to.restore(slot, engine->memory().slot(slot), engine->memory().key(slot), engine->memory().value(slot));
      }
    };
    copy(fresh->memory());
    switch (pick(5)) {
      case 0:
        ASSERT_EQ(engine->caption_text(options).log_probability, fresh->caption_text(options).log_probability) << i;
        break;
      case 1: {
        const auto got = engine->embed(&seen, options.prompt), wanted = fresh->embed(&seen, options.prompt);
        ASSERT_TRUE(std::equal(got.begin(), got.end(), wanted.begin())) << i;
        break;
      }
      case 2:
        engine->teach(seen, i, "a name");
        break;
      default:
        ASSERT_EQ(engine->caption(seen, options).log_probability, fresh->caption(seen, options).log_probability) << i;
    }
  }
}

// The kernels, which count the ternary products of them all.
int products;
const Kernels& counting_kernels() {
  static const Kernels& real = kernels();
  static const Kernels counting = [] {
    Kernels table = real;
    table.ternary_gemm = [](const PackedTernary& w, const std::int8_t* x, int m, std::int32_t* y, void* scratch) {
      ++products;
      real.ternary_gemm(w, x, m, y, scratch);
    };
    return table;
  }();
  return counting;
}

TEST_F(EngineTest, WhatComesAgainIsNotComputedAgain) {
  const auto counted = load_tiny(counting_kernels());
  const auto begin = [&](const char* prompt) {
    products = 0;
    counted->begin(image, {.prompt = prompt});
    return products;
  };
  const int all = begin("a dog"), none = begin("a dog"), text = begin("a cat");
  EXPECT_EQ(none, 0);
  EXPECT_GT(text, 0);
  EXPECT_LT(text, all);
}

TEST_F(EngineTest, RefusesPicturesAndContextsThatWereReplaced) {
  BitMar& model = engine->model();
  const std::vector<int> bos{model.config().bos_token_id};
  const Picture first = model.encode(pixels.data());
  const Context seen = model.fuse(&first, bos), unseen = model.fuse(nullptr, bos);
  EXPECT_EQ(model.encode(pixels.data()).id, first.id);  // the same pixels
  EXPECT_EQ(model.fuse(&first, bos).id, seen.id);
  EXPECT_NE(seen.id, unseen.id);
  model.prefill(seen, &first, std::nullopt);
  model.prefill(unseen, nullptr, std::nullopt);
  // A context goes with its own picture.
  EXPECT_EQ(code_of([&] { model.prefill(seen, nullptr, std::nullopt); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { model.prefill(unseen, &first, std::nullopt); }), ErrorCode::invalid_argument);

  std::vector<std::uint8_t> other(pixels.size(), 40);
  const Picture second = model.encode(other.data());
  EXPECT_EQ(code_of([&] { model.fuse(&first, bos); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { model.expect_words(first); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { model.prefill(seen, &first, std::nullopt); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { model.prefill(seen, &second, std::nullopt); }), ErrorCode::invalid_argument);
  // The context that was used least recently goes first.
  for (int token = 3; token < 2 + kContexts; ++token) model.fuse(&second, std::vector<int>{bos[0], token});
  EXPECT_EQ(code_of([&] { model.retrieve(unseen); }), ErrorCode::invalid_argument);
  EXPECT_NO_THROW(model.retrieve(seen));
  model.fuse(&second, bos);
  EXPECT_EQ(code_of([&] { model.retrieve(seen); }), ErrorCode::invalid_argument);
}

// A frame of a webcam, its confidence and its place in the memory take one encoding of the prompt, of the caption, and
// one fusion each of the picture alone and of both.
TEST_F(EngineTest, AContextIsMadeOnce) {
  const auto counted = load_tiny(counting_kernels());
  BitMar& model = counted->model();
  const std::vector<int> bos{model.config().bos_token_id}, said{bos[0], 7, 8};
  const Picture picture = model.encode(pixels.data());
  const auto cost = [&](const Picture* seen, const std::vector<int>& tokens) {
    products = 0;
    model.fuse(seen, tokens);
    return products;
  };
  const int alone = cost(&picture, bos), text = cost(nullptr, said), both = cost(&picture, said);
  EXPECT_LT(both, alone);  // the text is encoded already
  for (const auto& [seen, tokens] : {std::pair(&picture, bos), {nullptr, said}, {&picture, said}}) {
    EXPECT_EQ(cost(seen, tokens), 0);
  }
  model.forget_inputs();
  EXPECT_EQ(cost(&picture, bos), alone);
  EXPECT_EQ(cost(nullptr, said), text);
}

TEST_F(EngineTest, KeysAndValuesAsInt8AreAlmostTheSame) {
  const auto small = load_tiny(kernels(), {.int8_kv_cache = true});
  EXPECT_LT(small->bytes().kv_cache, engine->bytes().kv_cache);
  float largest = 0, error = 0;
  for (Engine* each : {engine.get(), small.get()}) {
    const Picture picture = each->model().encode(pixels.data());
    const Context context = each->model().fuse(&picture, std::vector<int>{each->config().bos_token_id});
    each->model().prefill(context, &picture, std::nullopt);
  }
  for (int token : {1, 70, 120, 33, 250, 90, 4, 200}) {
    const auto wanted = engine->model().decode(token), got = small->model().decode(token);
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      largest = std::max(largest, std::abs(wanted[i]));
      error = std::max(error, std::abs(wanted[i] - got[i]));
    }
  }
  EXPECT_GT(error, 0);
  EXPECT_LT(error, 0.05f * largest);
}

// The model that is shipped, because the tiny one has hardly a piece for a second thread.
TEST(EngineThreads, ChangeNothing) {
  const auto files = read_model_directory(std::filesystem::path(BITMAR_SOURCE_DIR) / "models" / "default");
  const auto load = [&](int threads) { return Engine::load(files_of(files), {.threads = threads}, kernels()); };
  const auto alone = load(1);
  std::vector<std::uint8_t> pixels(std::size_t{3} * 160 * 120);
  std::uint32_t random = 1;
  for (const int threads : {2, 5}) {
    const auto together = load(threads);
    EXPECT_LE(together->threads(), threads);
    for (int round = 0; round < 12; ++round) {  // the first 8 together, then some alone
      for (std::uint8_t& v : pixels) v = static_cast<std::uint8_t>((random = random * 1664525 + 1013904223) >> 24);
      const ImageView image{pixels.data(), 160, 120, 3};
      const auto one = alone->caption(image, {.max_tokens = 4}), many = together->caption(image, {.max_tokens = 4});
      ASSERT_EQ(one.tokens, many.tokens) << threads << " threads, image " << round;
      ASSERT_EQ(one.log_probability, many.log_probability);
      ASSERT_TRUE(std::ranges::equal(alone->embed(&image, ""), together->embed(&image, "")));
    }
  }
}

TEST_F(EngineTest, ConfidenceIsOfProbabilityAndLikeness) {
  ModelDirectory directory = read_model_directory(tiny_folder());
  auto config = nlohmann::json::parse(directory.config_json);
  const auto calibrated_caption = [&](double slope, double similarity, double offset, int beams) {
    config["confidence"] = {{"slope", slope}, {"similarity", similarity}, {"offset", offset}};
    directory.config_json = config.dump();
    const auto calibrated = Engine::load(files_of(directory));
    EXPECT_FALSE(calibrated->caption_text({.max_tokens = 3}).confidence);
    calibrated->begin(image, {.max_tokens = 3, .num_beams = beams});
    EXPECT_FALSE(calibrated->result().confidence);
    while (calibrated->step()) {
    }
    return calibrated->result();
  };
  const auto likeness = [&](const std::string& text) {
    const auto own = engine->embed(&image, "");
    const std::vector<float> query(own.begin(), own.end());
    const auto said = engine->embed(nullptr, text);
    return std::inner_product(query.begin(), query.end(), said.begin(), 0.0);
  };
  for (int beams : {1, 3}) {
    const auto result = engine->caption(image, {.max_tokens = 3, .num_beams = beams});
    EXPECT_FALSE(result.confidence);
    for (const auto& [slope, similarity, offset] : {std::array{0.0, 0.0, 0.3}, {0.5, 0.0, 0.0}, {0.5, 2.0, -0.1}}) {
      const auto sure = calibrated_caption(slope, similarity, offset, beams);
      EXPECT_EQ(sure.tokens, result.tokens);
      const double mean = sure.log_probability / static_cast<double>(sure.tokens.size() + 1);
      const double evidence = slope * mean + similarity * likeness(sure.text) + offset;
      ASSERT_TRUE(sure.confidence);
      EXPECT_NEAR(*sure.confidence, 1 / (1 + std::exp(-evidence)), 1e-5);
    }
  }
}

TEST_F(EngineTest, SaysTheWordsExpectedAndIsSurerOfThem) {
  ModelDirectory directory = read_model_directory(tiny_folder());
  auto config = nlohmann::json::parse(directory.config_json);
  config["confidence"] = {{"slope", 0}, {"similarity", 0}, {"offset", 0}, {"agreement", 2}};
  const auto agreement = [&](double weight, int beams) {
    config["bag_of_words"]["rerank_weight"] = config["bag_of_words"]["guidance"] = weight;
    directory.config_json = config.dump();
    const auto guided = Engine::load(files_of(directory));
    const auto result = guided->caption(image, {.max_tokens = 3, .num_beams = beams});
    const double cosine = guided->model().expect_words(guided->model().encode(pixels.data()))->cosine(result.tokens);
    EXPECT_NEAR(*result.confidence, 1 / (1 + std::exp(-2 * cosine)), 1e-9);
    EXPECT_FALSE(guided->caption_text({.max_tokens = 3}).confidence);
    return cosine;
  };
  EXPECT_EQ(agreement(50, 1), agreement(0, 1));  // greedy is greedy
  EXPECT_GT(agreement(50, 8), agreement(0, 8));
}

TEST_F(EngineTest, ReadsTheNamesOfEarlierModels) {
  ModelDirectory directory = read_model_directory(tiny_folder());
  auto config = nlohmann::json::parse(directory.config_json);
  config["bag_of_words"] = {{"guidance", 50}, {"rerank_weight", 40}, {"length_penalty", 0.5}};
  config["confidence"] = {{"slope", 0}, {"similarity", 0}, {"offset", 0}, {"agreement", 2}};
  const auto caption = [&] {
    directory.config_json = config.dump();
    return Engine::load(files_of(directory))->caption(image, {.max_tokens = 3, .num_beams = 8});
  };
  const auto now = caption();
  config.erase("bag_of_words");
  config["words"] = {{"guidance", 50}, {"choice", 40}, {"length_penalty", 0.5}};
  config["confidence"] = {{"slope", 0}, {"similarity", 0}, {"offset", 0}, {"words", 2}};
  // The names of the tensors as well; blanks keep the length of the file's header.
  std::string weights(directory.safetensors.begin(), directory.safetensors.end());
  const std::string name = "\"bag_of_words.";
  int tensors = 0;
  for (std::size_t at; (at = weights.find(name)) != std::string::npos; ++tensors) {
    weights.replace(at, name.size(), "       \"words.");
  }
  EXPECT_EQ(tensors, 6);
  directory.safetensors.assign(weights.begin(), weights.end());
  const auto earlier = caption();
  EXPECT_EQ(earlier.tokens, now.tokens);
  EXPECT_EQ(earlier.confidence, now.confidence);
  EXPECT_NE(now.tokens, engine->caption(image, {.max_tokens = 3, .num_beams = 8}).tokens);
}

TEST_F(EngineTest, BeamSearchTakesTheModelsLengthPenaltyUnlessItIsToldAnother) {
  ModelDirectory directory = read_model_directory(tiny_folder());
  auto config = nlohmann::json::parse(directory.config_json);
  // Against log-probabilities that the penalty makes large or small.
  config["bag_of_words"]["guidance"] = config["bag_of_words"]["rerank_weight"] = 10;
  config["bag_of_words"]["length_penalty"] = 3;
  directory.config_json = config.dump();
  const auto guided = Engine::load(files_of(directory));
  const CaptionOptions plain{.max_tokens = 4, .num_beams = 8};
  CaptionOptions same = plain, other = plain;
  same.length_penalty = 3, other.length_penalty = -3;
  int different = 0;
  std::vector<std::uint8_t> noise(32 * 32 * 3);
  std::uint32_t random = 1;
  for (int round = 0; round < 20; ++round) {
    for (std::uint8_t& v : noise) v = static_cast<std::uint8_t>((random = random * 1664525 + 1013904223) >> 24);
    const ImageView picture{noise.data(), 32, 32, 3};
    const auto own = guided->caption(picture, plain).tokens;
    EXPECT_EQ(own, guided->caption(picture, same).tokens);
    different += own != guided->caption(picture, other).tokens;
  }
  EXPECT_GT(different, 0);
}

// ---- Questions ----

std::unique_ptr<Engine> load_changed(const std::function<void(nlohmann::json& config)>& change) {
  ModelDirectory directory = read_model_directory(tiny_folder());
  auto config = nlohmann::json::parse(directory.config_json);
  change(config);
  directory.config_json = config.dump();
  return Engine::load(files_of(directory));
}

TEST_F(EngineTest, ReadsAQuestionInLowerCaseAndSingleSpaces) {
  const auto plain = engine->ask(image, "is the dog?");
  EXPECT_FALSE(plain.tokens.empty());
  EXPECT_GT(plain.vision_ms, 0);
  EXPECT_GT(plain.text_ms, 0);
  for (const char* same : {"Is the DOG?", "  is\t the\n dog? ",
                           "is\xc2\xa0the\xe3\x80\x80"
                           "dog?"}) {
    const auto answer = engine->ask(image, same);
    EXPECT_EQ(answer.tokens, plain.tokens) << same;
    EXPECT_EQ(answer.log_probability, plain.log_probability) << same;
  }
  // The question mark is read as it is written, and the mark of a question is no text.
  for (const char* other : {"is the dog", "is the dog ?", "<ask>is the dog?"}) {
    EXPECT_NE(engine->ask(image, other).log_probability, plain.log_probability) << other;
  }
}

TEST_F(EngineTest, AnswersHoweverLongTheyMayBe) {
  const int most = engine->config().ask->max_tokens;
  const auto whole = engine->ask(image, "a dog", {.max_tokens = 30});
  for (const int limit : {1, 2, most}) {
    const auto answer = engine->ask(image, "a dog", {.max_tokens = limit});
    ASSERT_LE(answer.tokens.size(), static_cast<std::size_t>(limit));
    EXPECT_TRUE(std::equal(answer.tokens.begin(), answer.tokens.end(), whole.tokens.begin()));
    EXPECT_GE(answer.log_probability, whole.log_probability);
    EXPECT_NEAR(answer.confidence, std::exp(answer.log_probability), 1e-9);
  }
  EXPECT_EQ(engine->ask(image, "a dog").tokens, engine->ask(image, "a dog", {.max_tokens = most}).tokens);
}

TEST_F(EngineTest, BeamsFindAnAnswerAtLeastAsLikely) {
  std::vector<std::uint8_t> noise(32 * 32 * 3);
  std::uint32_t random = 1;
  int likelier = 0;
  for (int round = 0; round < 10; ++round) {
    for (std::uint8_t& v : noise) v = static_cast<std::uint8_t>((random = random * 1664525 + 1013904223) >> 24);
    const ImageView picture{noise.data(), 32, 32, 3};
    const auto greedy = engine->ask(picture, "a dog?", {.max_tokens = 3});
    const auto beams = engine->ask(picture, "a dog?", {.num_beams = 8, .max_tokens = 3});
    EXPECT_GE(beams.log_probability, greedy.log_probability - 1e-9);
    likelier += beams.log_probability > greedy.log_probability + 1e-3;
  }
  EXPECT_GT(likelier, 0);
}

TEST_F(EngineTest, SayingNothingIsDeclining) {
  const auto said = engine->ask(image, "a dog?");
  EXPECT_FALSE(said.declined);
  ASSERT_FALSE(said.tokens.empty());
  const auto silent = load_changed([&](nlohmann::json& config) { config["eos_token_id"] = said.tokens[0]; });
  // By beams too, where nothing longer than a token may be said instead.
  for (const AskOptions& options : {AskOptions{}, AskOptions{.num_beams = 3, .max_tokens = 1}}) {
    const auto answer = silent->ask(image, "a dog?", options);
    EXPECT_TRUE(answer.declined);
    EXPECT_EQ(answer.text, "");
    EXPECT_TRUE(answer.tokens.empty());
    EXPECT_LT(answer.log_probability, 0);  // that of the end
    EXPECT_GT(answer.confidence, 0);
  }
}

TEST_F(EngineTest, AQuestionChangesNoCaption) {
  const CaptionOptions options{.prompt = "a dog", .max_tokens = 5, .num_beams = 3};
  const auto before = load_tiny()->caption(image, options);
  const auto answer = load_tiny()->ask(image, "a dog");
  engine->begin(image, {});
  engine->step();
  EXPECT_EQ(engine->ask(image, "a dog").log_probability, answer.log_probability);
  EXPECT_FALSE(engine->step());  // the caption under way is over
  EXPECT_EQ(code_of([&] { engine->remember(1, "a dog"); }), ErrorCode::invalid_argument);  // and gone
  const auto after = engine->caption(image, options);
  EXPECT_EQ(after.tokens, before.tokens);
  EXPECT_EQ(after.log_probability, before.log_probability);
  EXPECT_EQ(engine->ask(image, "a dog").log_probability, answer.log_probability);
  // Neither is the memory read, nor are words expected or a confidence fitted to captions.
  engine->caption(image, {});
  engine->remember(1, "a dog");
  EXPECT_EQ(engine->ask(image, "a dog").log_probability, answer.log_probability);
  const auto guided = load_changed([](nlohmann::json& config) {
    config["bag_of_words"] = {{"guidance", 50}, {"rerank_weight", 50}, {"length_penalty", 3}};
    config["confidence"] = {{"slope", 1}, {"similarity", 1}, {"offset", 1}};
  });
  EXPECT_EQ(guided->ask(image, "a dog", {.num_beams = 4}).log_probability,
            engine->ask(image, "a dog", {.num_beams = 4}).log_probability);
  EXPECT_EQ(guided->ask(image, "a dog").confidence, answer.confidence);
}

TEST_F(EngineTest, AnotherQuestionDoesNotLookAgain) {
  const auto counted = load_tiny(counting_kernels());
  const auto ask = [&](const char* question) {
    products = 0;
    counted->ask(image, question, {.max_tokens = 1});
    return products;
  };
  const int all = ask("a dog?"), again = ask("a cat?");
  EXPECT_GT(again, 0);
  EXPECT_LT(again, all - 12);  // two layers of the vision transformer have six products each
}

TEST_F(EngineTest, OfFeaturesIsAskedTheSame) {
  const std::vector<float> grid(16 * 36, 0.25f);
  const auto answer = engine->ask_features(grid, "a dog?");
  EXPECT_EQ(engine->ask_features(grid, "A dog?").tokens, answer.tokens);
  EXPECT_EQ(code_of([&] { engine->ask_features(std::span(grid).first(5), "a dog?"); }), ErrorCode::invalid_argument);
}

TEST_F(EngineTest, RefusesWhatIsNoQuestion) {
  EXPECT_TRUE(engine->can_ask());
  for (const char* empty : {"", " ", "\t\n\xc2\xa0"}) {
    EXPECT_EQ(code_of([&] { engine->ask(image, empty); }), ErrorCode::invalid_argument);
  }
  EXPECT_EQ(code_of([&] { engine->ask(image, "x1y2z3x1y2z3x1y2z3"); }), ErrorCode::text_too_long);
  EXPECT_EQ(code_of([&] { engine->ask(image, "\xff?"); }), ErrorCode::invalid_text);
  EXPECT_EQ(code_of([&] { engine->ask({pixels.data(), 0, 0, 3}, "a dog?"); }), ErrorCode::invalid_image);
  for (const AskOptions& options : {AskOptions{.num_beams = 0}, AskOptions{.num_beams = 9}, AskOptions{.max_tokens = 0},
                                    AskOptions{.num_beams = 8, .max_tokens = 5}}) {
    EXPECT_EQ(code_of([&] { engine->ask(image, "a dog?", options); }), ErrorCode::invalid_argument);
  }
  EXPECT_FALSE(engine->ask(image, "a dog?").tokens.empty());  // and it still works
  const auto mute = load_changed([](nlohmann::json& config) { config.erase("ask"); });
  EXPECT_FALSE(mute->can_ask());
  EXPECT_EQ(code_of([&] { mute->ask(image, "a dog?"); }), ErrorCode::unsupported);
  EXPECT_EQ(mute->caption(image, {}).log_probability, engine->caption(image, {}).log_probability);
}

TEST_F(EngineTest, ReportsItsMemory) {
  const MemoryReport bytes = engine->bytes();
  for (std::size_t part : {bytes.weights, bytes.activations, bytes.kv_cache, bytes.memory_slots, bytes.scratch}) {
    EXPECT_GT(part, 0u);
  }
  EXPECT_EQ(bytes.total(), bytes.weights + bytes.activations + bytes.kv_cache + bytes.memory_slots + bytes.scratch);
}

TEST_F(EngineTest, RemembersWhenAskedTo) {
  engine->caption(image, {});
  EXPECT_EQ(engine->memory().size(), 0);
  const auto first = engine->caption(image, {.read_memory = true});
  engine->remember(5, first.text);
  EXPECT_EQ(engine->memory().size(), 1);
  EXPECT_EQ(engine->memory().slot(0).created_ms, 5);
  EXPECT_EQ(first.tokens, engine->caption(image, {}).tokens);  // it was written after it was read
  engine->remember(6, engine->caption(image, {}).text);
  EXPECT_EQ(engine->memory().size(), 1);  // the same again
  EXPECT_EQ(engine->memory().slot(0).strength, 2);
  // The image itself finds the episode; and the vector has unit length.
  const auto key = engine->embed(&image, "");
  Match match;
  ASSERT_EQ(engine->memory().recall(key, {&match, 1}), 1);
  EXPECT_NEAR(match.similarity, 1, 1e-4);
  const std::vector<float> by_image(key.begin(), key.end());
  const auto by_text = engine->embed(nullptr, "a dog");
  EXPECT_NE(by_image, std::vector<float>(by_text.begin(), by_text.end()));
}

TEST_F(EngineTest, AnEpisodeIsItsImageAndItsCaption) {
  // Written once the caption is there: the key is the image's, the value that of image and caption.
  const auto result = engine->caption(image, {.prompt = "a dog", .max_tokens = 3});
  EXPECT_EQ(engine->remember(5, result.text).outcome, EpisodicMemory::Outcome::added);
  const auto by_image = engine->embed(&image, "");
  const auto key = engine->memory().key(0), value = engine->memory().value(0);
  EXPECT_TRUE(std::equal(key.begin(), key.end(), by_image.begin(), by_image.end()));
  BitMar& model = engine->model();
  std::vector<int> tokens = engine->tokenizer().encode(result.text);
  tokens.insert(tokens.begin(), engine->config().bos_token_id);
  const Picture picture = model.encode(pixels.data());
  const auto of_both = model.fuse(&picture, tokens).value;
  EXPECT_TRUE(std::equal(value.begin(), value.end(), of_both.begin(), of_both.end()));

  // Of what was begun last, stopped or not; a text searched for in between does not matter, another image does.
  EXPECT_TRUE(engine->caption(image, {}, [](std::string_view) { return false; }).aborted);
  engine->embed(nullptr, "two cats");
  EXPECT_EQ(engine->remember(6, "a dog").id, 1u);
  engine->embed(&image, "");
  EXPECT_EQ(code_of([&] { engine->remember(7, "a dog"); }), ErrorCode::invalid_argument);
  // More text than a prompt holds is no error, and neither is a prompt without an image.
  engine->caption_text({.prompt = "a dog"});
  EXPECT_EQ(engine->remember(8, "x1y2z3x1y2z3x1y2z3").slot, 1);
  const auto by_text = engine->embed(nullptr, "a dog"), own = engine->memory().key(1);
  EXPECT_TRUE(std::equal(own.begin(), own.end(), by_text.begin(), by_text.end()));
}

TEST_F(EngineTest, RememberingDoesNotDisturbTheCaptionUnderWay) {
  const auto whole = engine->caption(image, {.prompt = "a dog", .temperature = 2, .seed = 3});
  engine->begin(image, {.prompt = "a dog", .temperature = 2, .seed = 3});
  while (engine->step()) {
    engine->remember(5, "two cats");
    engine->embed(nullptr, "a tree");
  }
  EXPECT_EQ(engine->result().tokens, whole.tokens);
}

TEST_F(EngineTest, IsTaughtNames) {
  engine->caption(image, {});
  engine->remember(8, "a dog");
  EXPECT_EQ(engine->teach(9, "my dog").id, 1u);
  const auto own = engine->embed(&image, "");
  EXPECT_EQ(engine->memory().recognise(own)->label, "my dog");
  std::vector<std::uint8_t> other(pixels.size(), 40);
  const ImageView grey{other.data(), 32, 32, 3};
  const auto taught = engine->teach(grey, 10, "a wall");
  EXPECT_EQ(engine->memory().slot(taught.slot).label(), "a wall");
  EXPECT_EQ(code_of([&] { engine->teach(grey, 10, ""); }), ErrorCode::invalid_argument);
}

TEST_F(EngineTest, ChoosesTheSizeOfItsMemoryBeforeItWrites) {
  const auto before = engine->bytes();
  engine->resize_memory(1000);
  EXPECT_EQ(engine->memory().capacity(), 1000);
  EXPECT_GT(engine->bytes().memory_slots, before.memory_slots + 900 * 2 * 16 * sizeof(float));
  EXPECT_EQ(engine->bytes().activations, before.activations);
  for (const int slots : {0, -1, EpisodicMemory::kMaxSlots + 1}) {
    EXPECT_EQ(code_of([&] { engine->resize_memory(slots); }), ErrorCode::invalid_argument);
  }
  engine->caption(image, {});
  engine->remember(8, "a dog");
  EXPECT_EQ(code_of([&] { engine->resize_memory(64); }), ErrorCode::invalid_argument);
  EXPECT_EQ(engine->memory().size(), 1);
}

TEST_F(EngineTest, AMemoryGrowsRatherThanLoseWhatWasSaved) {
  engine->resize_memory(9);
  for (int i = 0; i < 9; ++i) {
    std::vector<float> v(16);
    v[i] = 1;
    engine->memory().restore({.id = i + 1u, .strength = 1}, v, v);
  }
  const auto saved = engine->memory().snapshot();
  const std::uint64_t sequence = engine->memory().sequence();
  const std::vector<float> zeros(16);
  EXPECT_EQ(code_of([&] { engine->memory().restore({.id = 3, .strength = 1}, zeros, zeros); }),
            ErrorCode::invalid_argument);

  engine->memory().forget_all();
  engine->resize_memory(4);
  EXPECT_EQ(engine->memory().capacity(), 4);
  EXPECT_EQ(engine->memory().sequence(), sequence + 1);
  EXPECT_EQ(engine->load_memory(saved, {}, true).left_out, 5);
  EXPECT_EQ(engine->memory().size(), 4);
  EXPECT_EQ(engine->load_memory(saved, {}, false).left_out, 0);
  EXPECT_EQ(engine->memory().capacity(), 9);
  EXPECT_EQ(engine->memory().sequence(), sequence);
  EXPECT_EQ(engine->memory().snapshot(), saved);

  engine->memory().forget_all();
  engine->resize_memory(4);
  const std::uint64_t before = engine->memory().sequence();
  EXPECT_EQ(engine->adopt_memory(saved, true).left_out, 5);
  EXPECT_EQ(engine->adopt_memory(saved, false).loaded, 9);
  EXPECT_EQ(engine->memory().capacity(), 9);
  EXPECT_EQ(engine->memory().sequence(), before + 2);
  EXPECT_EQ(engine->memory().changes_since(before).size(), saved.size());  // all of it, in place of what was there
}

TEST_F(EngineTest, AnEpisodeOfAnotherModelIsSeenAgain) {
  const std::vector<std::uint8_t> shades(30 * 30 * 3, 90);
  const ImageView grey{shades.data(), 30, 30, 3};
  const auto taught = engine->teach(grey, 10, "a wall");
  const auto copy = [](std::span<const float> v) { return std::vector<float>(v.begin(), v.end()); };
  const auto key = copy(engine->memory().key(taught.slot)), value = copy(engine->memory().value(taught.slot));
  engine->memory().forget_all();
  Episode episode{.id = 77, .created_ms = 1, .last_used_ms = 2, .uses = 3, .strength = 4};
  episode.set_label("a wall");
  engine->restore(grey, episode, "a wall");
  const int slot = engine->memory().find(77);
  ASSERT_GE(slot, 0);
  EXPECT_EQ(engine->memory().slot(slot).label(), "a wall");
  EXPECT_EQ(engine->memory().slot(slot).uses, 3u);
  EXPECT_EQ(engine->memory().slot(slot).strength, 4);
  EXPECT_TRUE(std::equal(key.begin(), key.end(), engine->memory().key(slot).begin()));
  EXPECT_TRUE(std::equal(value.begin(), value.end(), engine->memory().value(slot).begin()));
  EXPECT_EQ(code_of([&] { engine->restore(grey, episode, "a wall"); }), ErrorCode::invalid_argument);
}

TEST_F(EngineTest, RefusesBadOptions) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const CaptionOptions& options :
       {CaptionOptions{.max_tokens = 0}, CaptionOptions{.max_tokens = 1 << 30}, CaptionOptions{.num_beams = 0},
        CaptionOptions{.num_beams = 9}, CaptionOptions{.max_tokens = 17, .num_beams = 2},
        CaptionOptions{.num_beams = 2, .temperature = 1}, CaptionOptions{.temperature = -1},
        CaptionOptions{.temperature = nan}, CaptionOptions{.top_p = 0}, CaptionOptions{.top_p = nan},
        CaptionOptions{.length_penalty = nan}, CaptionOptions{.temperature = std::nextafter(1000.0f, 2000.0f)},
        CaptionOptions{.temperature = std::numeric_limits<float>::infinity()}, CaptionOptions{.length_penalty = 10.5},
        CaptionOptions{.length_penalty = -10.5}}) {
    EXPECT_EQ(code_of([&] { engine->caption(image, options); }), ErrorCode::invalid_argument);
  }
  for (const CaptionOptions& options : {CaptionOptions{.temperature = 1000}, CaptionOptions{.temperature = 1e-40f},
                                        CaptionOptions{.max_tokens = 8, .num_beams = 2, .length_penalty = 10},
                                        CaptionOptions{.max_tokens = 8, .num_beams = 2, .length_penalty = -10}}) {
    EXPECT_TRUE(std::isfinite(engine->caption(image, options).log_probability));
  }
  EXPECT_EQ(code_of([&] { engine->embed(nullptr, ""); }), ErrorCode::invalid_argument);
}

TEST_F(EngineTest, RefusesBadInput) {
  EXPECT_EQ(code_of([&] { engine->caption({pixels.data(), 0, 0, 3}, {}); }), ErrorCode::invalid_image);
  EXPECT_EQ(code_of([&] { engine->caption(image, {.prompt = "\xff\xfe"}); }), ErrorCode::invalid_text);
  EXPECT_EQ(code_of([&] { engine->caption(image, {.prompt = "x1y2z3x1y2z3x1y2z3"}); }), ErrorCode::text_too_long);
  std::vector<float> grid(16 * 36);
  EXPECT_EQ(code_of([&] { engine->caption_features(std::span(grid).first(5), {}); }), ErrorCode::invalid_argument);
  for (const float none : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN(), 1.1e6f}) {
    grid[7] = none;
    EXPECT_EQ(code_of([&] { engine->caption_features(grid, {}); }), ErrorCode::invalid_argument);
  }
  std::fill(grid.begin(), grid.end(), 1e6f);
  EXPECT_TRUE(std::isfinite(engine->caption_features(grid, {}).log_probability));
  EXPECT_FALSE(engine->step());
  EXPECT_FALSE(engine->caption(image, {.prompt = "a dog"}).text.empty());  // and it still works
}

TEST_F(EngineTest, LooksAtTheLengthOfATextBeforeItsTokens) {
  const std::string long_text(kMostText + 1, 'a');
  EXPECT_EQ(code_of([&] { engine->caption(image, {.prompt = long_text}); }), ErrorCode::text_too_long);
  EXPECT_EQ(code_of([&] { engine->embed(nullptr, long_text); }), ErrorCode::text_too_long);
  engine->begin(image, {});
  EXPECT_EQ(code_of([&] { engine->teach(0, std::string(64, 'a')); }), ErrorCode::text_too_long);
  EXPECT_EQ(code_of([&] { engine->teach(0, std::string(20 << 20, 'a')); }), ErrorCode::text_too_long);
  EXPECT_TRUE(engine->step()) << "the caption under way goes on";
  EXPECT_EQ(engine->memory().size(), 0);
}

// As much of a caption counts as a prompt may hold: what is behind that makes no difference, whole or half a character.
TEST_F(EngineTest, RemembersTheBeginningOfALongText) {
  std::string text = "a dog ";
  while (text.size() < kMostText) text += "\xE6\xBC\xA2";
  std::vector<std::vector<float>> values;
  for (const std::string& said : {text, text + text, text.substr(0, 300)}) {
    const auto fresh = load_tiny();
    fresh->begin(image, {});
    const auto written = fresh->remember(0, said);
    const auto value = fresh->memory().value(written.slot);
    values.emplace_back(value.begin(), value.end());
  }
  EXPECT_EQ(values[0], values[1]);
  EXPECT_EQ(values[0], values[2]);
}

// No weights that were loaded lead to it, but a processor may: whoever computes NaN says so.
TEST_F(EngineTest, SaysWhenANumberIsNotFinite) {
  static Kernels broken = scalar_kernels();
  static bool breaks = false;
  broken.quantize_row = [](const float* x, int n, std::int8_t* q) {
    if (!breaks) return scalar_kernels().quantize_row(x, n, q);
    std::fill_n(q, n, std::int8_t{1});
    return std::numeric_limits<float>::quiet_NaN();
  };
  for (const CaptionOptions& options : {CaptionOptions{}, CaptionOptions{.max_tokens = 4, .num_beams = 3},
                                        CaptionOptions{.temperature = 1, .seed = 3}}) {
    breaks = false;
    const auto faulty = load_tiny(broken);
    EXPECT_NO_THROW(faulty->caption(image, options));
    breaks = true;
    faulty->model().forget_inputs();
    EXPECT_EQ(code_of([&] { faulty->caption(image, options); }), ErrorCode::invalid_model);
    EXPECT_EQ(code_of([&] { faulty->embed(nullptr, "a dog"); }), ErrorCode::invalid_model);
    breaks = false;
    faulty->model().forget_inputs();
    EXPECT_NO_THROW(faulty->caption(image, options)) << "and it still works";
  }
}

// ---- Model files ----

struct ModelFilesTest : testing::Test {
  ModelDirectory directory = read_model_directory(tiny_folder());
  nlohmann::json config = nlohmann::json::parse(directory.config_json);

  ErrorCode load_code() {
    directory.config_json = config.dump();
    return code_of([&] { Engine::load(files_of(directory)); });
  }
};

TEST_F(ModelFilesTest, TruncatedAnywhere) {
  const auto whole = directory.safetensors;
  for (std::size_t size :
       {std::size_t{0}, std::size_t{7}, std::size_t{8}, std::size_t{100}, whole.size() / 2, whole.size() - 1}) {
    directory.safetensors.assign(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_EQ(load_code(), ErrorCode::invalid_model) << size;
  }
}

TEST_F(ModelFilesTest, AnotherShapeThanTheConfigSays) {
  config["compressor"]["hidden_size"] = 24;
  EXPECT_EQ(load_code(), ErrorCode::invalid_model);
}

TEST_F(ModelFilesTest, MoreLayersThanTheFileHas) {
  config["decoder"]["num_layers"] = 3;
  EXPECT_EQ(load_code(), ErrorCode::invalid_model);
}

TEST_F(ModelFilesTest, FewerLayersThanTheFileHas) {
  config["decoder"]["num_layers"] = 1;
  EXPECT_EQ(load_code(), ErrorCode::invalid_model);
}

TEST_F(ModelFilesTest, AVocabularyThatIsNotTheTokenizers) {
  auto tokenizer = nlohmann::json::parse(directory.tokenizer_json);
  tokenizer["model"]["vocab"].erase(
      "\xc4\xa0"
      "dog");
  directory.tokenizer_json = tokenizer.dump();
  EXPECT_EQ(load_code(), ErrorCode::invalid_model);
}

// Changes one tensor's entry in the header, keeping the header's length.
void replace_in_header(std::vector<std::uint8_t>& file, const std::string& from, std::string to) {
  const auto at = std::search(file.begin(), file.end(), from.begin(), from.end());
  ASSERT_NE(at, file.end());
  ASSERT_LE(to.size(), from.size());
  to.resize(from.size(), ' ');
  std::copy(to.begin(), to.end(), at);
}

TEST_F(ModelFilesTest, AnUnknownTensorType) {
  replace_in_header(directory.safetensors, "\"dtype\":\"I8\"", "\"dtype\":\"Q4\"");
  EXPECT_EQ(load_code(), ErrorCode::unsupported_tensor_type);
}

TEST_F(ModelFilesTest, ATypeThatDoesNotBelong) {
  replace_in_header(directory.safetensors, "\"dtype\":\"I8\"", "\"dtype\":\"U8\"");
  EXPECT_EQ(load_code(), ErrorCode::invalid_model);
}

TEST_F(ModelFilesTest, AnAskTokenThatTextCouldHold) {
  config["ask"]["token_id"] = 299;
  EXPECT_EQ(load_code(), ErrorCode::invalid_model);
  config["ask"]["token_id"] = 305;
  EXPECT_EQ(load_code(), ErrorCode::invalid_config);
}

TEST_F(ModelFilesTest, AMissingTensor) {
  replace_in_header(directory.safetensors, "\"fusion.norm.weight\"", "\"fusion.norm.height\"");
  EXPECT_EQ(load_code(), ErrorCode::invalid_model);
}

TEST_F(ModelFilesTest, ATernaryCodeThatMeansNothing) {
  const SafeTensors file = SafeTensors::parse(directory.safetensors);
  const auto data = file.find("compressor.fc1.weight")->data;
  directory.safetensors[data.data() - directory.safetensors.data()] = 0xff;
  EXPECT_EQ(load_code(), ErrorCode::invalid_model);
}

TEST_F(ModelFilesTest, ANumberThatIsNone) {
  const SafeTensors file = SafeTensors::parse(directory.safetensors);
  const auto data = file.find("decoder.norm.weight")->data;
  std::fill_n(directory.safetensors.begin() + (data.data() - directory.safetensors.data()), 4, 0xff);
  EXPECT_EQ(load_code(), ErrorCode::invalid_model);
}

// A model that takes precomputed features has no vision encoder at all.
TEST_F(ModelFilesTest, FeaturesInsteadOfPixels) {
  config["vision"] = {{"input", "features"}, {"grid_size", 4}, {"feature_size", 36}};
  EXPECT_EQ(load_code(), ErrorCode::invalid_model);  // the encoder's tensors are in the way

  // Rewrite the file without them.
  const SafeTensors file = SafeTensors::parse(directory.safetensors);
  const std::map<DType, std::string> names{{DType::u8, "U8"}, {DType::i8, "I8"}, {DType::f32, "F32"}};
  nlohmann::json header;
  std::vector<std::uint8_t> data;
  for (DType type : {DType::f32, DType::i8, DType::u8}) {
    for (const auto& [name, tensor] : file.tensors()) {
      if (tensor.dtype != type || name.starts_with("vision.")) continue;
      header[name] = {{"dtype", names.at(type)},
                      {"shape", tensor.shape},
                      {"data_offsets", {data.size(), data.size() + tensor.data.size()}}};
      data.insert(data.end(), tensor.data.begin(), tensor.data.end());
    }
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::vector<std::uint8_t> bytes(8);
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<std::uint8_t>(std::uint64_t{text.size()} >> 8 * i);
  bytes.insert(bytes.end(), text.begin(), text.end());
  bytes.insert(bytes.end(), data.begin(), data.end());
  directory.safetensors = bytes;

  const auto engine = Engine::load(files_of(directory));
  const std::vector<float> grid(16 * 36, 0.25f);
  const auto with_pixels = load_tiny();
  EXPECT_EQ(engine->caption_features(grid, {}).tokens, with_pixels->caption_features(grid, {}).tokens);
  const std::vector<std::uint8_t> pixels(32 * 32 * 3);
  EXPECT_EQ(code_of([&] { engine->caption({pixels.data(), 32, 32, 3}, {}); }), ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace bitmar
