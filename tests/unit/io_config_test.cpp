// config.json: every field is asked for, and no value is believed.
#include "io/config.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <random>
#include <string>

#include "io/error.h"
#include "io/json.h"

namespace bitmar {
namespace {

using nlohmann::json;

std::string read(const std::string& path) {
  std::ifstream stream(BITMAR_SOURCE_DIR "/" + path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::string default_config() { return read("models/bitmar/model/default_config.json"); }

void expect_error(const std::string& text, const std::string& words) {
  try {
    parse_config(text);
    ADD_FAILURE() << "accepted; expected: " << words;
  } catch (const Error& error) {
    EXPECT_EQ(to_string(error.code()), "invalid_config");
    EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what() << "\nexpected: " << words;
  }
}

TEST(Config, ReadsTheDefault) {
  const Config c = parse_config(default_config());
  EXPECT_EQ(c.hidden_size, 256);
  EXPECT_EQ(c.rms_norm_eps, 1e-5f);
  EXPECT_EQ(c.vocab_size, 4101);
  EXPECT_EQ(c.eos_token_id, 2);
  EXPECT_TRUE(c.vision.takes_pixels());
  ASSERT_EQ(c.vision.stem.size(), 12u);
  EXPECT_EQ(c.vision.stem[0].weights, StemLayerConfig::Weights::int8);
  EXPECT_EQ(c.vision.stem[3].type, StemLayerConfig::Type::max_pool);
  EXPECT_TRUE(c.vision.stem[6].type == StemLayerConfig::Type::max_pool && c.vision.stem[5].relu);
  EXPECT_EQ(c.vision.stem[7].type, StemLayerConfig::Type::residual);
  EXPECT_EQ(c.vision.stem[7].stride, 1);
  EXPECT_FALSE(c.vision.stem[8].relu);
  EXPECT_EQ(c.text_encoder.rope_theta, 10000.0);
  EXPECT_EQ(c.memory.novelty_threshold, 0.9f);
  EXPECT_EQ(c.memory.read_threshold, -1);  // not in the file
  EXPECT_EQ(c.decoder.window_size, 1020);
}

TEST(Config, MayHaveThresholdsOfTheMemory) {
  json c = json::parse(default_config());
  c["memory"]["read_threshold"] = 0.5;
  c["memory"]["recall_threshold"] = 0.25;
  EXPECT_EQ(parse_config(c.dump()).memory.read_threshold, 0.5f);
  EXPECT_EQ(parse_config(c.dump()).memory.recall_threshold, 0.25f);
}

TEST(Config, MayHaveABagOfWordsHeadAndBeCalibrated) {
  json c = json::parse(default_config());
  EXPECT_EQ(parse_config(c.dump()).bag_of_words->guidance, 12);
  EXPECT_EQ(parse_config(c.dump()).bag_of_words->length_penalty, 0.5);
  EXPECT_FALSE(parse_config(c.dump()).confidence);
  c.erase("bag_of_words");
  EXPECT_FALSE(parse_config(c.dump()).bag_of_words);
  c["confidence"] = {{"slope", 2}, {"similarity", 3}, {"offset", -1}};
  EXPECT_EQ(parse_config(c.dump()).confidence->similarity, 3);
  EXPECT_EQ(parse_config(c.dump()).confidence->agreement, 0);  // not in the file
  c["confidence"]["agreement"] = 4.5;
  EXPECT_EQ(parse_config(c.dump()).confidence->agreement, 4.5);
  c["confidence"]["agreement"] = "much";
  expect_error(c.dump(), "confidence.agreement must be");
}

// Narrow heads are much work for few weights.
TEST(Config, CountsTheWorkOfHeads) {
  json c = json::parse(default_config());
  c["text_encoder"]["max_tokens"] = 2048;
  parse_config(c.dump());
  c["text_encoder"]["num_heads"] = 64;
  expect_error(c.dump(), "text_encoder.max_tokens takes too much computing");
}

TEST(Config, MayHaveTheNamesOfEarlierModels) {
  json c = json::parse(default_config());
  c["bag_of_words"] = {{"guidance", 2}, {"rerank_weight", 3}, {"length_penalty", 0.75}};
  c["confidence"] = {{"slope", 2}, {"similarity", 3}, {"offset", -1}, {"agreement", 4}};
  json earlier = c;
  earlier.erase("bag_of_words");
  earlier["words"] = {{"guidance", 2}, {"choice", 3}, {"length_penalty", 0.75}};
  earlier["confidence"] = {{"slope", 2}, {"similarity", 3}, {"offset", -1}, {"words", 4}};
  for (const json& config : {c, earlier}) {
    const Config read = parse_config(config.dump());
    EXPECT_EQ(read.bag_of_words->guidance, 2);
    EXPECT_EQ(read.bag_of_words->rerank_weight, 3);
    EXPECT_EQ(read.bag_of_words->length_penalty, 0.75);
    EXPECT_EQ(read.confidence->agreement, 4);
  }
  c["bag_of_words"].erase("rerank_weight");
  expect_error(c.dump(), "bag_of_words.rerank_weight is missing");
}

TEST(Config, MayAnswerQuestions) {
  json c = json::parse(default_config());
  c.erase("ask");
  EXPECT_FALSE(parse_config(c.dump()).ask);
  c["ask"] = {{"token_id", 4096}, {"max_tokens", 8}};
  EXPECT_EQ(parse_config(c.dump()).ask->token_id, 4096);
  EXPECT_EQ(parse_config(c.dump()).ask->max_tokens, 8);
  const auto with = [&](const char* key, const json& value) {
    json changed = c;
    changed["ask"][key] = value;
    return changed.dump();
  };
  for (const json& wrong : {json(4101), json(-1), json("<ask>"), json(nullptr), json(1e30)}) {
    expect_error(with("token_id", wrong), "ask.token_id must be an integer from 0 to 4100");
  }
  for (const int taken : {0, 1, 2}) expect_error(with("token_id", taken), "ask.token_id must differ");
  for (const json& wrong : {json(0), json(1025), json(true)}) {
    expect_error(with("max_tokens", wrong), "ask.max_tokens must be an integer from 1 to 1024");
  }
  for (const char* missing : {"token_id", "max_tokens"}) {
    json changed = c;
    changed["ask"].erase(missing);
    expect_error(changed.dump(), std::string("ask.") + missing + " is missing");
  }
  c["ask"] = 4096;
  expect_error(c.dump(), "ask must be an object");
}

TEST(Config, OfFeaturesNeedsNoStem) {
  json c = json::parse(default_config());
  c["vision"] = {{"input", "features"}, {"grid_size", 14}, {"feature_size", 768}};
  const Config parsed = parse_config(c.dump());
  EXPECT_FALSE(parsed.vision.takes_pixels());
  EXPECT_EQ(parsed.vision.grid_size, 14);
  EXPECT_NO_THROW(check_preprocessor("", parsed));
}

// Without any one field, or with it of another type, the error names it.
TEST(Config, NamesTheFieldThatIsWrong) {
  const json whole = json::parse(default_config());
  const json flat = whole.flatten();
  for (const auto& [path, value] : flat.items()) {
    const json::json_pointer pointer(path);
    std::string name;  // "/vision/stem/3/type" -> "vision.stem[3].type"
    for (auto p = pointer; !p.empty(); p.pop_back()) {
      const std::string& part = p.back();
      const bool index = part.find_first_not_of("0123456789") == std::string::npos;
      const bool after_index = !name.empty() && name[0] == '[';
      name = (index ? "[" + part + "]" : part) + (name.empty() || after_index ? "" : ".") + name;
    }
    json changed = whole;
    changed.at(pointer.parent_pointer()).erase(pointer.back());
    expect_error(changed.dump(), name + " is missing");
    for (const json& wrong : {json("x"), json(nullptr), json(-1e30), json(true), json::array(), json(1e30)}) {
      changed = whole;
      changed[pointer] = wrong;
      expect_error(changed.dump(), name + " must be");
    }
  }
}

TEST(Config, RefusesWhatDoesNotFitTogether) {
  struct Case {
    const char* pointer;
    json value;
    const char* words;
  };
  const Case cases[] = {
      {"/hidden_size", 254, "multiple of 4"},
      {"/hidden_size", 1 << 20, "hidden_size must be"},
      {"/hidden_size", 18446744073709551615ull, "hidden_size must be"},
      {"/format_version", 2, "format_version"},
      {"/model_type", "bert", "model_type must be \"bitmar\""},
      {"/eos_token_id", 1, "must differ"},
      {"/eos_token_id", 4101, "eos_token_id must be"},
      {"/vision/input", "video", "\"pixels\" or \"features\""},
      {"/vision/grid_size", 7, "the stem ends in a grid of 8"},
      {"/vision/hidden_size", 260, "the stem ends in 256 channels"},
      {"/vision/num_heads", 3, "must divide"},
      {"/vision/stem", json::array(), "a list of 1"},
      {"/vision/stem/0/weights", "ternary", "first layer"},
      {"/vision/stem/1/weights", "int8", "first layer"},
      {"/vision/stem/0/type", "max_pool", "first layer"},
      {"/vision/stem/0/type", "residual", "first layer"},
      {"/vision/stem/7/kernel_size", 4, "odd"},
      {"/vision/stem/1/kernel_size", 2, "odd"},
      {"/vision/stem/1/stride", 0, "stride"},
      {"/compressor/pool_size", 3, "must divide"},
      {"/text_encoder/num_heads", 256, "even width"},
      {"/memory/num_slots", 1 << 30, "num_slots"},
      {"/memory/temperature", 0, "temperature"},
      {"/memory/read_threshold", 1.5, "read_threshold"},
      {"/memory/recall_threshold", "low", "recall_threshold"},
      {"/decoder", json::array(), "decoder must be an object"},
      {"/bag_of_words/guidance", -1, "bag_of_words.guidance must be"},
  };
  for (const Case& c : cases) {
    json changed = json::parse(default_config());
    changed[json::json_pointer(c.pointer)] = c.value;
    expect_error(changed.dump(), c.words);
  }
}

// Each number within its own limit, all together gigabytes.
TEST(Config, RefusesWhatWouldTakeGigabytes) {
  json c = json::parse(default_config());
  c["decoder"]["window_size"] = 16000;
  c["decoder"]["num_layers"] = 64;
  expect_error(c.dump(), "decoder.window_size takes too much memory");
  c = json::parse(default_config());
  c["memory"]["num_slots"] = 65536;
  c["memory"]["width"] = 4096;
  expect_error(c.dump(), "memory.num_slots takes too much memory");
  c = json::parse(default_config());
  c["vision"]["image_size"] = 1024;
  c["vision"]["stem"][0]["stride"] = 1;
  c["vision"]["stem"][0]["kernel_size"] = 1;
  c["vision"]["stem"][0]["out_channels"] = 4096;
  expect_error(c.dump(), "vision.stem[0].out_channels takes too much memory");
}

// Of a picture: every part of the model counts, and a convolution of few channels as one of 32.
TEST(Config, RefusesWhatWouldTakeMinutes) {
  const auto changed = [](const auto& change) {
    json c = json::parse(default_config());
    change(c);
    return c.dump();
  };
  const char* const picture = "takes too much computing for each picture";
  const auto stem = [](json& c, const json& layer, int times) {
    c["vision"]["image_size"] = 945;
    auto& layers = c["vision"]["stem"];
    layers[0]["stride"] = 1;
    layers[0]["kernel_size"] = 1;
    layers[0]["out_channels"] = 8;
    for (int i = 0; i < times; ++i) layers.insert(layers.begin() + 1, layer);
  };
  const json conv = {{"type", "conv"}, {"out_channels", 8},    {"kernel_size", 15},
                     {"stride", 1},    {"weights", "ternary"}, {"activation", "relu"}};
  expect_error(changed([&](json& c) { stem(c, conv, 3); }), picture);
  expect_error(changed([&](json& c) { stem(c, {{"type", "residual"}, {"kernel_size", 15}}, 2); }), picture);
  expect_error(changed([&](json& c) { stem(c, {{"type", "max_pool"}, {"kernel_size", 15}, {"stride", 1}}, 50); }),
               picture);
  expect_error(changed([](json& c) { c["text_encoder"].update({{"num_layers", 64}, {"max_tokens", 2048}}); }), picture);
  expect_error(changed([](json& c) {
                 c["decoder"].update({{"num_layers", 64}, {"intermediate_size", 4096}, {"window_size", 100}});
                 c["hidden_size"] = 1024;
                 c["text_encoder"]["num_layers"] = 0;
               }),
               "decoder.num_layers takes too much computing for each token");
  // Ten times as deep as ours is still a model.
  EXPECT_NO_THROW(parse_config(changed([](json& c) {
    c["decoder"]["num_layers"] = 40;
    c["text_encoder"]["num_layers"] = 20;
    c["vision"]["num_layers"] = 20;
    c["fusion"]["num_layers"] = 20;
  })));
}

// Either alone is taken.
TEST(Config, CountsMemoryTogether) {
  json slots = json::parse(default_config());
  slots["memory"]["num_slots"] = 16000;
  slots["memory"]["width"] = 1024;
  EXPECT_NO_THROW(parse_config(slots.dump()));
  json window = json::parse(default_config());
  window["decoder"]["num_layers"] = 8;
  window["decoder"]["window_size"] = 5000;
  EXPECT_NO_THROW(parse_config(window.dump()));
  slots["decoder"] = window["decoder"];
  expect_error(slots.dump(), "decoder.window_size takes too much memory");
}

TEST(Config, RefusesWhatIsNoDocument) {
  for (const char* text : {"", "null", "[]", "{", "{} {}", "\xff", "{\"a\":1,\"a\":2}", "\"x\""}) {
    EXPECT_THROW(parse_config(text), Error) << text;
  }
  expect_error(std::string(1'000'000, '['), "deeply");
}

TEST(Config, SurvivesDamage) {
  const std::string whole = default_config();
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::string text = whole;
    for (auto n = 1 + random() % 3; n; --n) {
      text[random() % text.size()] = random() % 2 ? static_cast<char>(random()) : "0123456789[]{}\",.-e"[random() % 19];
    }
    try {
      parse_config(text);
    } catch (const Error&) {
    }
  }
}

TEST(Preprocessor, MustBeWhatTheEngineDoes) {
  const Config c = parse_config(read("tests/golden/tiny/config.json"));
  const std::string good = read("tests/golden/tiny/preprocessor_config.json");
  EXPECT_NO_THROW(check_preprocessor(good, c));
  const json document = json::parse(good);
  for (const auto& [key, value] : document.items()) {
    if (key == "image_processor_type") continue;
    json changed = document;
    changed[key] = 17;
    EXPECT_THROW(check_preprocessor(changed.dump(), c), Error) << key;
    changed.erase(key);
    EXPECT_THROW(check_preprocessor(changed.dump(), c), Error) << key;
  }
  EXPECT_THROW(check_preprocessor("[]", c), Error);
  EXPECT_THROW(check_preprocessor("", c), Error);
}

}  // namespace
}  // namespace bitmar
