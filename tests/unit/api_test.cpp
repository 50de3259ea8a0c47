// The public API of include/bitmar, by nothing but its own headers: what it gives is what the engine gives.
#include <bitmar/bitmar.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "count_allocations.h"

namespace {

using bitmar::ErrorCode;
using bitmar::Model;

const std::filesystem::path kRoot = BITMAR_SOURCE_DIR;
const std::filesystem::path kTiny = kRoot / "tests" / "golden" / "tiny";

std::string contents(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

template <class F>
ErrorCode code_of(const F& f) {
  try {
    f();
  } catch (const bitmar::Error& error) {
    EXPECT_STRNE(error.what(), "");
    return error.code();
  }
  ADD_FAILURE() << "nothing was thrown";
  return ErrorCode::aborted;
}

double cosine(const std::vector<float>& a, const std::vector<float>& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

// The tiny model as bytes, which must last as long as the files.
struct TinyFiles {
  bitmar::ModelFiles files() const {
    return {config, tokenizer, preprocessor, {reinterpret_cast<const std::uint8_t*>(weights.data()), weights.size()}};
  }

  std::string config = contents(kTiny / "config.json"), tokenizer = contents(kTiny / "tokenizer.json"),
              preprocessor = contents(kTiny / "preprocessor_config.json"),
              weights = contents(kTiny / "model.safetensors");
};

// With random weights all pictures look much alike: here they are different episodes nevertheless.
Model load_choosy() {
  TinyFiles tiny;
  const std::string usual = "\"novelty_threshold\": 0.9";
  const std::size_t at = tiny.config.find(usual);
  if (at == std::string::npos) throw std::logic_error("tests/golden/tiny has another threshold");
  tiny.config.replace(at, usual.size(), "\"novelty_threshold\": 0.99");  // GCC 12 warns of an insert()
  return Model::load(tiny.files());
}

struct ApiTest : testing::Test {
  Model model = load_choosy();
  std::vector<std::uint8_t> black = std::vector<std::uint8_t>(32 * 32 * 3), checks = black;
  bitmar::ImageView image = bitmar::image_view(black, 32, 32), other = bitmar::image_view(checks, 32, 32);

  ApiTest() {
    for (std::size_t i = 0; i < checks.size(); ++i) checks[i] = (i / 12 + i / 384) % 2 ? 255 : 0;
  }
};

TEST(ErrorTest, QuotesAtMostAThousandBytesAndNoHalfCharacter) {
  for (const std::string quoted : {"x", "\xC3\xA4", "\xF0\x9F\x98\x80"}) {
    std::string message = "this is no model: ";
    while (message.size() < 5000) message += quoted;
    const std::string said = bitmar::Error(ErrorCode::invalid_model, message).what();
    EXPECT_LE(said.size(), 1000u);
    EXPECT_GE(said.size(), 990u);
    EXPECT_TRUE(said.ends_with(quoted + "...")) << said.substr(980);
  }
  EXPECT_STREQ(bitmar::Error(ErrorCode::invalid_model, "short").what(), "short");
}

TEST(ReadImageTest, RefusesANameThatTheSystemWouldCutShort) {
  const std::string name = (kRoot / "web" / "demo" / "public" / "samples" / "cat.jpg").string();
  EXPECT_GT(bitmar::read_image(name).width, 0);
  EXPECT_EQ(code_of([&] { bitmar::read_image(name + std::string(1, '\0') + "x"); }), ErrorCode::missing_file);
}

TEST_F(ApiTest, LoadsFromAFolderAndFromBytes) {
  const TinyFiles tiny;
  const bitmar::ModelFiles files = tiny.files();
  Model same = Model::load(files);
  const auto wanted = model.caption(image);
  EXPECT_EQ(same.caption(image).text, wanted.text);
  EXPECT_EQ(same.caption(image).log_probability, wanted.log_probability);
  EXPECT_EQ(code_of([] { Model::load(kTiny / "nowhere"); }), ErrorCode::missing_file);
  EXPECT_EQ(code_of([&] { Model::load(files, {.threads = 0}); }), ErrorCode::invalid_argument);
}

TEST_F(ApiTest, CaptionsAndStreams) {
  std::string streamed;
  const auto result = model.caption(image, {.prompt = "a dog", .max_tokens = 8}, [&](std::string_view piece) {
    streamed += piece;
    return true;
  });
  EXPECT_EQ(streamed, result.text);
  EXPECT_FALSE(result.tokens.empty());
  EXPECT_TRUE(model.caption(image, {}, [](std::string_view) { return false; }).aborted);
  EXPECT_EQ(model.caption(image, {.max_tokens = 3, .num_beams = bitmar::kMostBeams}).tokens.size(), 3u);
  EXPECT_NE(model.caption_text({.prompt = "a dog"}).log_probability, result.log_probability);
  EXPECT_EQ(code_of([&] { model.caption(image, {.num_beams = bitmar::kMostBeams + 1}); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { model.caption(image, {.prompt = std::string(bitmar::kMostText + 1, 'a')}); }),
            ErrorCode::text_too_long);
}

TEST_F(ApiTest, AnswersWhereItCan) {
  EXPECT_EQ(model.info().can_ask, true);
  const bitmar::Answer answer = model.ask(image, "a dog?", {.max_tokens = 2});
  EXPECT_LE(answer.tokens.size(), 2u);
  EXPECT_EQ(answer.declined, answer.text.empty());
  EXPECT_EQ(code_of([&] { model.ask(image, "  "); }), ErrorCode::invalid_argument);
}

TEST_F(ApiTest, EmbedsImagesAndTextsAsUnitVectors) {
  const auto by_image = model.embed(image), by_text = model.embed("a dog"), by_both = model.embed(image, "a dog");
  for (const auto& v : {by_image, by_text, by_both}) {
    EXPECT_EQ(v.size(), by_image.size());
    EXPECT_NEAR(cosine(v, v), 1, 1e-5);
  }
  EXPECT_NE(by_image, by_text);
  EXPECT_NE(by_image, by_both);
  EXPECT_NE(by_text, by_both);
  EXPECT_EQ(code_of([&] { model.embed(""); }), ErrorCode::invalid_argument);
}

TEST_F(ApiTest, ExplainsAndScores) {
  const bitmar::Explanation told = model.explain(image, "a dog", {.expected = 4});
  EXPECT_EQ(told.words.size(), 2u);
  EXPECT_EQ(told.expected.size(), 4u);
  const std::vector<std::string> texts{" dog", " dog runs"};
  const auto seeing = model.score(image, "a", texts), blind = model.score("a", texts);
  EXPECT_EQ(seeing.size(), 2u);
  EXPECT_NE(seeing[0].log_probability, blind[0].log_probability);
  EXPECT_EQ(model.score("a", texts, {.end = true})[1].tokens.size(), blind[1].tokens.size() + 1);
  EXPECT_EQ(code_of([&] { model.score("a", {}); }), ErrorCode::invalid_argument);
}

TEST_F(ApiTest, TellsWhatItIs) {
  const Model two = Model::load(kTiny, {.threads = 2});
  const bitmar::ModelInfo info = model.info();
  EXPECT_GT(info.parameters, 1000u);
  EXPECT_GT(info.bytes.weights, 1000u);
  EXPECT_FALSE(info.kernels.empty());
  EXPECT_EQ(info.threads, 1);
  EXPECT_GE(two.info().threads, 1);
  std::ostringstream numbers;
  numbers << BITMAR_VERSION_MAJOR << '.' << BITMAR_VERSION_MINOR << '.' << BITMAR_VERSION_PATCH;
  EXPECT_EQ(bitmar::version(), numbers.str());
  EXPECT_STREQ(bitmar::version(), BITMAR_VERSION);
}

TEST_F(ApiTest, AModelIsMovedAndItsMemoryWithIt) {
  static_assert(!std::is_copy_constructible_v<Model> && std::is_nothrow_move_constructible_v<Model>);
  bitmar::Memory memory = model.memory();
  Model moved = std::move(model);
  memory.remember(image, "a dog");
  EXPECT_EQ(moved.memory().size(), 1);
  model = std::move(moved);
  EXPECT_EQ(model.memory().size(), 1);
}

TEST_F(ApiTest, RemembersAndRecalls) {
  bitmar::Memory memory = model.memory();
  const double before = bitmar::unix_time_ms();
  const bitmar::Written a = memory.remember(image, "a dog"), b = memory.remember(other, "a wall", before + 1);
  EXPECT_EQ(a.outcome, bitmar::WriteOutcome::added);
  EXPECT_EQ(memory.size(), 2);
  EXPECT_GE(memory.find(a.id)->created_ms, before);
  EXPECT_LT(memory.find(a.id)->created_ms, before + 60e3);
  EXPECT_EQ(memory.find(b.id)->created_ms, before + 1);
  EXPECT_EQ(memory.remember(image, "a dog").outcome, bitmar::WriteOutcome::blended);
  EXPECT_EQ(memory.find(a.id)->strength, 2);

  const auto found = memory.recall(image);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].episode.id, a.id);
  EXPECT_NEAR(found[0].similarity, 1, 1e-4);
  EXPECT_LT(found[1].similarity, found[0].similarity);
  EXPECT_EQ(memory.recall(other, 1)[0].episode.id, b.id);
  EXPECT_EQ(memory.recall(model.embed(other), 1)[0].episode.id, b.id);
  EXPECT_EQ(memory.recall(image, 5, 0.999f).size(), 1u);
  EXPECT_EQ(memory.recall(image, 0).size(), 0u);
  const auto dog = model.embed("a dog");
  EXPECT_NEAR(memory.recall("a dog", 1)[0].similarity,
              std::max(cosine(dog, model.embed(image)), cosine(dog, model.embed(other))), 1e-4);
  EXPECT_EQ(code_of([&] { memory.recall(image, -1); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { memory.recall(std::vector<float>(3)); }), ErrorCode::invalid_argument);

  memory.touch(b.id, before + 2);
  EXPECT_EQ(memory.find(b.id)->uses, 1u);
  EXPECT_EQ(memory.list().size(), 2u);
  EXPECT_TRUE(memory.forget(a.id));
  EXPECT_FALSE(memory.forget(a.id));
  EXPECT_FALSE(memory.find(a.id));
  EXPECT_EQ(code_of([&] { memory.touch(a.id); }), ErrorCode::invalid_argument);
  memory.clear();
  EXPECT_EQ(memory.size(), 0);
  EXPECT_TRUE(memory.recall(image).empty());
}

TEST_F(ApiTest, LearnsNames) {
  bitmar::Memory memory = model.memory();
  EXPECT_FALSE(memory.recognise(image));
  const bitmar::Written written = memory.teach(image, "my dog");
  EXPECT_EQ(memory.find(written.id)->label(), "my dog");
  EXPECT_EQ(memory.recognise(image)->label, "my dog");
  EXPECT_GE(memory.recognise(model.embed(image))->score, 0.5f);
  memory.label(written.id, "his dog");
  EXPECT_EQ(memory.recognise(image)->label, "his dog");
  memory.label(written.id, "");
  EXPECT_FALSE(memory.recognise(image));
  EXPECT_EQ(code_of([&] { memory.label(99, "a dog"); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { memory.teach(image, ""); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { memory.teach(image, std::string(bitmar::Episode::kMaxLabel + 1, 'a')); }),
            ErrorCode::text_too_long);
}

TEST_F(ApiTest, AMemoryIsSavedAndLoaded) {
  bitmar::Memory memory = model.memory();
  memory.resize(2);
  EXPECT_EQ(memory.capacity(), 2);
  memory.remember(image, "a dog");
  const auto saved = memory.save();
  const std::uint64_t sequence = memory.sequence();
  memory.teach(other, "a wall");
  const auto changes = memory.changes_since(sequence);
  EXPECT_LT(changes.size(), memory.save().size());

  Model fresh = Model::load(kTiny);
  bitmar::Memory copy = fresh.memory();
  copy.resize(1);
  EXPECT_EQ(copy.load(saved).loaded, 1);
  EXPECT_EQ(copy.save(), saved);
  const std::span<const std::uint8_t> journal[] = {changes};
  EXPECT_EQ(copy.load(saved, journal).loaded, 2);
  EXPECT_EQ(copy.capacity(), 2);  // it grew
  EXPECT_EQ(copy.save(), memory.save());
  EXPECT_EQ(copy.recognise(other)->label, "a wall");

  copy.clear();
  copy.resize(1);
  EXPECT_EQ(copy.load(memory.save(), {}, true).left_out, 1);
  EXPECT_EQ(copy.list()[0].label(), "a wall");

  auto damaged = saved;
  damaged[0] ^= 1;
  EXPECT_EQ(code_of([&] { copy.load(damaged); }), ErrorCode::invalid_state);
  EXPECT_EQ(copy.size(), 1);
  EXPECT_EQ(code_of([&] { copy.resize(5); }), ErrorCode::invalid_argument);
}

TEST_F(ApiTest, WritesByThePolicyThatIsSet) {
  bitmar::Memory memory = model.memory();
  memory.set_policy(bitmar::WritePolicy::additive);
  memory.remember(image, "a dog");
  EXPECT_EQ(memory.remember(image, "a dog").outcome, bitmar::WriteOutcome::added);  // the gate would blend it
}

TEST_F(ApiTest, ACallbackCannotUseItsOwnModel) {
  const auto alone = model.caption(image, {.max_tokens = 6});
  ASSERT_GT(alone.tokens.size(), 1u);
  int refused = 0;
  const auto within = model.caption(image, {.max_tokens = 6}, [&](std::string_view) {
    for (const auto& call : std::vector<std::function<void()>>{
             [&] { model.caption(other); }, [&] { model.caption_text({.prompt = "a"}); }, [&] { model.embed(other); },
             [&] { model.memory().remember(other, "a", 1); }, [&] { model.explain(other, "a"); },
             [&] { model.score("a", std::vector<std::string>{"b"}); }})
      refused += code_of(call) == ErrorCode::invalid_argument;
    return true;
  });
  EXPECT_EQ(within.tokens, alone.tokens);
  EXPECT_GE(refused, 6);
  EXPECT_EQ(refused % 6, 0);
  EXPECT_THROW(model.caption(image, {}, [](std::string_view) -> bool { throw std::runtime_error("mine"); }),
               std::runtime_error);
  EXPECT_EQ(model.caption(image, {.max_tokens = 6}).tokens, alone.tokens);
}

#ifndef __EMSCRIPTEN__
// Also within the libraries that read JSON. Every allocation of the files, every seventh of the folder, which are the
// same and more.
TEST(Api, ALoadWithoutMemorySaysSo) {
  const TinyFiles tiny;
  const bitmar::ModelFiles files = tiny.files();
  const auto fails_typed = [](const auto& load, std::size_t which) {
    bool failed = false;
    bitmar::fail_allocation(which);
    try {
      load();
    } catch (const bitmar::Error& error) {
      failed = true;
      EXPECT_EQ(error.code(), ErrorCode::out_of_memory) << "allocation " << which << ": " << error.what();
    }
    bitmar::fail_allocation(0);
    return failed;
  };
  std::size_t which = 1;
  while (fails_typed([&] { Model::load(files); }, which)) ++which;
  EXPECT_GT(which, 1000u);
  which = 1;
  while (fails_typed([] { Model::load(kTiny); }, which)) which += 7;
  EXPECT_GT(which, 1000u);
}
#endif

TEST(Api, ReadsPhotos) {
  const auto path = kRoot / "web" / "demo" / "public" / "samples" / "cat.jpg";
  const bitmar::Image photo = bitmar::read_image(path);
  EXPECT_EQ(photo.rgb.size(), std::size_t{3} * photo.width * photo.height);
  const std::string file = contents(path);
  const bitmar::Image same = bitmar::decode_image({reinterpret_cast<const std::uint8_t*>(file.data()), file.size()});
  EXPECT_EQ(same.width, photo.width);
  EXPECT_TRUE(std::equal(same.rgb.begin(), same.rgb.end(), photo.rgb.begin()));
  EXPECT_EQ(code_of([] { bitmar::read_image(kRoot / "nowhere.jpg"); }), ErrorCode::missing_file);
  EXPECT_EQ(code_of([] { bitmar::read_image(kRoot / "CMakeLists.txt"); }), ErrorCode::invalid_image);
  EXPECT_EQ(code_of([] { bitmar::image_view({}, 0, 4); }), ErrorCode::invalid_image);
}

}  // namespace
