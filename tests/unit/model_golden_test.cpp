// Every stage against PyTorch (models/bitmar/eval/golden.py), for every kernel table that runs here: integers
// exactly, floats to 1e-4 of the tensor's largest.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "io/unicode.h"
#include "tiny_model.h"

namespace bitmar {
namespace {

constexpr float kTolerance = 1e-4f;

// All that the stages computed, rows of the same name one after another.
struct Recorder : Observer {
  void accumulators(std::string_view layer, const std::int32_t* v, int rows, int columns) override {
    auto& to = integers["acc." + std::string(layer)];
    to.insert(to.end(), v, v + rows * columns);
  }
  void values(std::string_view stage, const float* v, int rows, int columns) override {
    auto& to = floats[std::string(stage)];
    to.insert(to.end(), v, v + rows * columns);
  }
  std::map<std::string, std::vector<std::int32_t>> integers;
  std::map<std::string, std::vector<float>> floats;
};

void fill_memory(const Golden& golden, EpisodicMemory& memory) {
  const auto keys = golden.values<float>("memory_keys"), values = golden.values<float>("memory_values");
  const std::size_t width = memory.settings().width;
  for (std::size_t i = 0; i * width < keys.size(); ++i) {
    // Not from the first slot on: empty ones between must not matter.
    memory.restore(static_cast<int>(i + 2), {.id = i + 1}, std::span(keys).subspan(i * width, width),
                   std::span(values).subspan(i * width, width));
  }
}

void expect_same(const Recorder& got, const Golden& golden, const std::string& prefix) {
  const std::set<std::string> results{"prompt", "greedy", "beam", "beam_score", "guided_beam", "log_probability"};
  int compared = 0;
  for (const auto& [name, tensor] : golden.file.tensors()) {
    if (!name.starts_with(prefix)) continue;
    const std::string stage = name.substr(prefix.size());
    if (results.contains(stage)) continue;
    ++compared;
    if (tensor.dtype == DType::i32) {
      ASSERT_TRUE(got.integers.contains(stage)) << name;
      ASSERT_EQ(got.integers.at(stage), golden.values<std::int32_t>(name)) << name;
      continue;
    }
    ASSERT_TRUE(got.floats.contains(stage)) << name;
    const auto wanted = golden.values<float>(name);
    const auto& found = got.floats.at(stage);
    ASSERT_EQ(found.size(), wanted.size()) << name;
    float largest = 0, error = 0;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      largest = std::max(largest, std::abs(wanted[i]));
      error = std::max(error, std::abs(found[i] - wanted[i]));
    }
    EXPECT_LE(error, kTolerance * largest) << name;
  }
  EXPECT_GT(compared, 30);
}

class GoldenTest : public testing::TestWithParam<const Kernels*> {};

// The stages of one input, teacher-forced with what PyTorch says after `begin`.
void check_stages(BitMar& model, const Golden& golden, const std::string& name, bool image, bool memory, int begin) {
  const auto pixels = golden.values<std::uint8_t>("pixels");
  Recorder recorder;
  model.set_observer(&recorder);
  std::vector<int> prompt{begin}, said{begin};
  for (int token : golden.values<std::int32_t>(name + "/prompt")) prompt.push_back(token);
  for (int token : golden.values<std::int32_t>(name + "/greedy")) said.push_back(token);
  const auto picture = image ? std::make_optional(model.encode(pixels.data())) : std::nullopt;
  const Picture* const seen = picture ? &*picture : nullptr;
  const Context context = model.fuse(seen, prompt);
  if (seen) {
    EXPECT_TRUE(model.expect_words(*seen));
  }
  model.prefill(context, seen, memory ? model.retrieve(context) : std::nullopt);
  for (int token : said) model.decode(token);
  model.set_observer(nullptr);
  expect_same(recorder, golden, name + "/");
}

// The forward pass stage by stage; then the engine's own caption.
void check_case(const Kernels& kernels, const std::string& name, bool image, bool memory) {
  const Golden golden;
  const auto engine = load_tiny(kernels);
  BitMar& model = engine->model();
  const auto pixels = golden.values<std::uint8_t>("pixels");
  if (memory) fill_memory(golden, model.memory());
  check_stages(model, golden, name, image, memory, model.config().bos_token_id);

  const bool prompted = !golden.values<std::int32_t>(name + "/prompt").empty();
  CaptionOptions options{.prompt = prompted ? golden.text("prompt_text") : "", .read_memory = memory};
  const int side = model.config().vision.image_size;
  const ImageView view{pixels.data(), side, side, 3};
  for (int beams : {1, 3}) {
    options.max_tokens = 10;
    options.num_beams = beams;
    const CaptionResult result = image ? engine->caption(view, options) : engine->caption_text(options);
    const std::vector<std::int32_t> tokens(result.tokens.begin(), result.tokens.end());
    EXPECT_EQ(tokens, golden.values<std::int32_t>(name + (beams == 1 ? "/greedy" : "/beam")));
    EXPECT_EQ(result.text, engine->tokenizer().decode(result.tokens));
    if (beams > 1) {
      EXPECT_NEAR(model.beam_search().score(), golden.values<float>(name + "/beam_score")[0], 1e-3);
    }
  }
}

TEST_P(GoldenTest, ImageAndPrompt) { check_case(*GetParam(), "prompted", true, false); }
TEST_P(GoldenTest, ImageWithMemory) { check_case(*GetParam(), "plain", true, true); }
TEST_P(GoldenTest, TextOnly) { check_case(*GetParam(), "text", false, false); }

// A question and its answer begin with the ask token, here of a vocabulary that is no multiple of anything.
TEST_P(GoldenTest, Question) {
  const Golden golden;
  const auto engine = load_tiny(*GetParam());
  fill_memory(golden, engine->memory());  // which is not read
  const int begin = engine->config().ask->token_id;
  check_stages(engine->model(), golden, "ask", true, false, begin);

  const auto pixels = golden.values<std::uint8_t>("pixels");
  const std::string question = golden.text("question_text");
  const auto expect = [&](const Answer& answer, const std::string& tokens, float log_probability) {
    EXPECT_EQ(std::vector<std::int32_t>(answer.tokens.begin(), answer.tokens.end()),
              golden.values<std::int32_t>(tokens));
    EXPECT_NEAR(answer.log_probability, log_probability, 1e-3);
    EXPECT_NEAR(answer.confidence, std::exp(log_probability), 1e-3 * std::exp(log_probability));
    EXPECT_EQ(answer.text, single_spaces(engine->tokenizer().decode(answer.tokens)));
  };
  const float greedy = golden.values<float>("ask/log_probability")[0], beam = golden.values<float>("ask/beam_score")[0];
  EXPECT_GT(beam, greedy);
  const ImageView view{pixels.data(), 32, 32, 3};
  expect(engine->ask(view, question), "ask/greedy", greedy);
  expect(engine->ask(view, question, {.num_beams = 3}), "ask/beam", beam);
}

TEST_P(GoldenTest, BeamSearchFollowsTheWordsExpected) {
  const Golden golden;
  ModelDirectory directory = read_model_directory(tiny_folder());
  auto config = nlohmann::json::parse(directory.config_json);
  config["bag_of_words"] = {{"guidance", 4}, {"rerank_weight", 4}, {"length_penalty", 0.7}};  // GUIDED in golden.py
  directory.config_json = config.dump();
  const auto engine = Engine::load(files_of(directory), {}, *GetParam());
  fill_memory(golden, engine->memory());
  const auto pixels = golden.values<std::uint8_t>("pixels");
  for (const std::string name : {"prompted", "plain"}) {
    const bool plain = name == "plain";
    const CaptionOptions options{
        .prompt = plain ? "" : golden.text("prompt_text"), .max_tokens = 10, .num_beams = 3, .read_memory = plain};
    Recorder recorder;
    engine->model().set_observer(&recorder);
    const auto result = engine->caption({pixels.data(), 32, 32, 3}, options);
    engine->model().set_observer(nullptr);
    const std::vector<std::int32_t> tokens(result.tokens.begin(), result.tokens.end());
    EXPECT_EQ(tokens, golden.values<std::int32_t>(name + "/guided_beam"));
    EXPECT_NE(tokens, golden.values<std::int32_t>(name + "/beam"));
    // Where the grid is given, the words are expected of it too.
    const auto blind = Engine::load(files_of(directory), {}, *GetParam());
    fill_memory(golden, blind->memory());
    EXPECT_EQ(blind->caption_features(recorder.floats.at("features"), options).tokens, result.tokens);
  }
}

TEST_P(GoldenTest, AFeatureGridStandsInForPixels) {
  const Golden golden;
  const auto engine = load_tiny(*GetParam());
  Recorder recorder;
  engine->model().set_observer(&recorder);
  const auto pixels = golden.values<std::uint8_t>("pixels");
  const CaptionResult wanted = engine->caption({pixels.data(), 32, 32, 3}, {});
  engine->model().set_observer(nullptr);
  const CaptionResult got = engine->caption_features(recorder.floats.at("features"), {});
  EXPECT_EQ(got.tokens, wanted.tokens);
  EXPECT_EQ(got.log_probability, wanted.log_probability);
}

INSTANTIATE_TEST_SUITE_P(Kernels, GoldenTest, testing::ValuesIn([] {
                           const auto all = available_kernels();
                           return std::vector<const Kernels*>(all.begin(), all.end());
                         }()),
                         [](const auto& tested) { return std::string(tested.param->name); });

}  // namespace
}  // namespace bitmar
