// src/compat against the reference in PyTorch (models/bitmar/compat/golden.py): every stage, on every table of kernels.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>

#include "compat/text_model.h"
#include "io/error.h"
#include "io/model_files.h"
#include "runtime/random.h"

namespace bitmar::compat {
namespace {

std::filesystem::path folder() { return std::filesystem::path(BITMAR_SOURCE_DIR) / "tests" / "golden" / "compat"; }

std::string config_text() {
  const auto bytes = read_file(folder() / "config.json", 1 << 20);
  return {bytes.begin(), bytes.end()};
}

// A file of tensors that can be changed.
struct Tensors {
  struct Own {
    DType dtype;
    std::vector<std::int64_t> shape;
    std::vector<std::uint8_t> bytes;
  };

  explicit Tensors(const std::string& file) {
    const auto bytes = read_file(folder() / file, 1 << 20);
    const SafeTensors parsed = SafeTensors::parse(bytes);
    for (const auto& [name, t] : parsed.tensors()) own[name] = {t.dtype, t.shape, {t.data.begin(), t.data.end()}};
  }

  template <class T>
  std::vector<T> values(const std::string& name) const {
    const Own& tensor = own.at(name);
    std::vector<T> v(tensor.bytes.size() / sizeof(T));
    std::memcpy(v.data(), tensor.bytes.data(), tensor.bytes.size());
    return v;
  }
  std::string text(const std::string& name) const {
    const auto v = values<char>(name);
    return {v.begin(), v.end()};
  }
  void fill(const std::string& name, float value) {
    auto& bytes = own.at(name).bytes;
    const std::vector<float> v(bytes.size() / sizeof(float), value);
    std::memcpy(bytes.data(), v.data(), bytes.size());
  }

  std::vector<std::uint8_t> file() const {
    nlohmann::json header;
    std::vector<std::uint8_t> body;
    for (const auto& [name, t] : own) {
      const char* const type = t.dtype == DType::u8 ? "U8" : "F32";
      header[name] = {
          {"dtype", type}, {"shape", t.shape}, {"data_offsets", {body.size(), body.size() + t.bytes.size()}}};
      body.insert(body.end(), t.bytes.begin(), t.bytes.end());
    }
    const std::string text = header.dump();
    std::vector<std::uint8_t> out;
    out.reserve(8 + text.size() + body.size());
    for (int i = 0; i < 8; ++i) out.push_back(static_cast<std::uint8_t>(std::uint64_t{text.size()} >> 8 * i));
    out.insert(out.end(), text.begin(), text.end());
    out.insert(out.end(), body.begin(), body.end());
    return out;
  }

  std::map<std::string, Own> own;
};

Model model_of(const Tensors& weights, const Kernels& with = kernels(), const std::string& config = config_text()) {
  const auto bytes = weights.file();
  return Model(parse_config(config), SafeTensors::parse(bytes), with);
}

// The largest difference, as a part of the largest number.
double difference(std::span<const double> got, std::span<const float> wanted) {
  EXPECT_EQ(got.size(), wanted.size());
  double most = 0, largest = 1e-30;
  for (std::size_t i = 0; i < std::min(got.size(), wanted.size()); ++i) {
    most = std::max(most, std::fabs(got[i] - static_cast<double>(wanted[i])));
    largest = std::max(largest, std::fabs(static_cast<double>(wanted[i])));
  }
  return most / largest;
}

struct CompatTest : testing::TestWithParam<const Kernels*> {
  Tensors golden{"golden.safetensors"}, weights{"model.safetensors"};
  std::vector<std::int32_t> tokens = golden.values<std::int32_t>("tokens");
  std::vector<float> vector = golden.values<float>("vision_vector");

  // How many stages of the golden case were seen. All must agree.
  int check(const Model& model, const std::string& name, Vision vision) {
    int seen = 0;
    const auto compare = [&](std::string_view stage, std::span<const double> values) {
      const std::string key = name + "/" + std::string(stage);
      if (!golden.own.contains(key)) return;
      EXPECT_LT(difference(values, golden.values<float>(key)), 1e-4) << key << " " << GetParam()->name;
      ++seen;
    };
    const auto result =
        model.run(tokens, vision, 0, [&](std::string_view stage, const Matrix& m) { compare(stage, m.values); });
    compare("logits", result.logits.values);
    compare("shares", result.shares);
    return seen;
  }
};

TEST_P(CompatTest, EveryStageIsThatOfPyTorch) {
  const Model model = model_of(weights, *GetParam());
  EXPECT_EQ(check(model, "image", vector), 13);
  EXPECT_EQ(check(model, "text", std::nullopt), 13);
}

TEST_P(CompatTest, EveryTableGivesTheSameBits) {
  const auto wanted = model_of(weights, scalar_kernels()).run(tokens, vector);
  const auto got = model_of(weights, *GetParam()).run(tokens, vector);
  EXPECT_EQ(got.logits.values, wanted.logits.values);
}

TEST_P(CompatTest, TheOtherRuleForTextsAlone) {
  auto config = nlohmann::json::parse(config_text());
  config["episode_without_vision"] = "dropped";
  EXPECT_EQ(check(model_of(weights, *GetParam(), config.dump()), "dropped", std::nullopt), 5);
}

TEST_P(CompatTest, ASecondReadKnowsOfTheFirstIfItIsCounted) {
  Model model = model_of(weights, *GetParam());
  const auto first = model.run(tokens, vector);
  EXPECT_EQ(model.run(tokens, vector).logits.values, first.logits.values);
  model.count_read(first.shares);
  EXPECT_EQ(check(model, "second", vector), 4);
}

// All slots zero: constant tensors are multiplied as they are. Few writes: episodes are not normalised.
TEST_P(CompatTest, AMemoryThatWasNeverWritten) {
  weights.fill("memory.memory", 0);
  weights.fill("memory.update_count", 3);
  EXPECT_EQ(check(model_of(weights, *GetParam()), "fresh", vector), 4);
}

TEST_P(CompatTest, TextsAreScoredAndCompletedAsByPyTorch) {
  const TextModel model(folder(), *GetParam());
  const std::vector<std::string> continuations{golden.text("continuation/0_text"), golden.text("continuation/1_text")};
  const auto scores = model.score(golden.text("prefix_text"), continuations, vector);
  ASSERT_EQ(scores.size(), 2u);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const auto& likely = scores[i].log_probabilities;
    EXPECT_LT(difference(likely, golden.values<float>("score/" + std::to_string(i))), 1e-4);
    EXPECT_DOUBLE_EQ(scores[i].log_probability, std::accumulate(likely.begin(), likely.end(), 0.0));
    EXPECT_DOUBLE_EQ(scores[i].per_token, scores[i].log_probability / static_cast<double>(likely.size()));
    EXPECT_DOUBLE_EQ(scores[i].per_byte, scores[i].log_probability / static_cast<double>(continuations[i].size()));
  }
  const auto wanted = golden.values<std::int32_t>("greedy");
  const auto said = model.complete(golden.text("prompt_text"), vector, static_cast<int>(wanted.size()));
  EXPECT_EQ(said.tokens, std::vector<int>(wanted.begin(), wanted.end()));
  EXPECT_EQ(said.text, model.tokenizer().decode(said.tokens));
  EXPECT_LT(said.log_probability, 0);
}

INSTANTIATE_TEST_SUITE_P(Tables, CompatTest, testing::ValuesIn(available_kernels().begin(), available_kernels().end()),
                         [](const auto& tested) {
                           std::string name = tested.param->name;
                           std::erase_if(name, [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); });
                           return name;
                         });

TEST(CompatErf, IsTheCLibrarys) {
  for (double x = -8; x <= 8; x += 0.0078125) EXPECT_NEAR(erf(x), std::erf(x), 1e-14) << x;
  EXPECT_EQ(erf(0), 0);
}

// All widths and numbers of rows, against the definition.
TEST(CompatLinear, IsItsDefinition) {
  Random random(7);
  for (const auto& [in, out, rows, low, high] :
       {std::tuple{1, 4, 2, -1.0, 1.0}, {5, 8, 1, -3.0, 2.0}, {33, 12, 40, 1.0, 2.0}, {64, 305, 70, -9.0, -1.0}}) {
    const int padded = (out + 3) / 4 * 4;
    std::vector<std::uint8_t> packed(static_cast<std::size_t>(padded) / 4 * in);
    for (auto& byte : packed) {
      for (int i = 0; i < 4; ++i) byte = static_cast<std::uint8_t>(byte << 2 | random.next() % 3);
    }
    Matrix x(rows, in);
    for (double& v : x.values) v = low + (high - low) * random.uniform();
    for (const Kernels* table : available_kernels()) {
      Linear layer{.weight = PackedTernary(packed, padded, in, table->order), .scale = 0.25f, .in = in, .out = out};
      for (int row = 0; row < out; ++row) {
        layer.bias.push_back(static_cast<float>(row));
        layer.sums.push_back(0);
        for (int i = 0; i < in; ++i) layer.sums.back() += layer.weight.value(row, i);
      }
      const auto [smallest, largest] = std::ranges::minmax(x.values);
      const float a = static_cast<float>(smallest), scale = (static_cast<float>(largest) - a) / 255;
      const float zero = std::clamp(std::nearbyint(-a / scale), 0.0f, 255.0f);
      const int first = rows / 3;
      const Matrix y = linear(*table, layer, x, first);
      ASSERT_EQ(y.rows, rows - first);
      for (int row = first; row < rows; ++row) {
        for (int o = 0; o < out; ++o) {
          double sum = 0;
          for (int i = 0; i < in; ++i) {
            const float code = std::nearbyint(static_cast<float>(x.row(row)[i]) / scale + zero);
            sum += (std::clamp(code, 0.0f, 255.0f) - zero) * static_cast<double>(layer.weight.value(o, i));
          }
          ASSERT_NEAR(y.row(row - first)[o], sum * static_cast<double>(scale) * 0.25 + o, 1e-9) << table->name;
        }
      }
    }
  }
}

ErrorCode code_of(const std::function<void()>& f, std::string* message = nullptr) {
  try {
    f();
  } catch (const Error& error) {
    if (message) *message = error.what();
    return error.code();
  }
  ADD_FAILURE() << "nothing was thrown";
  return ErrorCode::aborted;
}

TEST(CompatErrors, EveryTensorThatIsMissingOrWrongIsNamed) {
  const Tensors whole("model.safetensors");
  const auto refuses = [](const Tensors& changed, const std::string& name, const std::string& problem) {
    std::string message;
    EXPECT_EQ(code_of([&] { model_of(changed); }, &message), ErrorCode::invalid_model);
    EXPECT_TRUE(message.starts_with("tensor " + name + " " + problem)) << message;
  };
  for (const auto& [name, tensor] : whole.own) {
    Tensors changed = whole;
    changed.own.erase(name);
    refuses(changed, name, "is missing");
    changed = whole;
    changed.own.at(name).shape.push_back(1);
    refuses(changed, name, "has shape");
    changed = whole;
    if (tensor.dtype == DType::f32) {
      changed.fill(name, std::numeric_limits<float>::infinity());
      refuses(changed, name, "holds a number that is not finite");
    } else {
      changed.own.at(name).bytes[0] = 0xFF;
      refuses(changed, name, "holds a code");
    }
  }
  for (const char* name : {"memory.memory_importance", "memory.memory_std"}) {
    Tensors changed = whole;
    changed.fill(name, -1);
    refuses(changed, name, "holds a negative number");
  }
  Tensors changed = whole;
  changed.own["memory.query_compress.weight"] = changed.own["memory.memory"];
  refuses(changed, "memory.query_compress.weight", "is no part");
}

TEST(CompatErrors, EveryFieldOfTheConfigIsNamed) {
  const auto whole = nlohmann::json::parse(config_text());
  const auto refuses = [](const nlohmann::json& config, const std::string& field) {
    std::string message;
    EXPECT_EQ(code_of([&] { parse_config(config.dump()); }, &message), ErrorCode::invalid_config);
    EXPECT_TRUE(message.starts_with("config.json: " + field)) << message << " instead of " << field;
  };
  for (const auto& [name, value] : whole.items()) {
    auto changed = whole;
    changed.erase(name);
    refuses(changed, name);
    changed = whole;
    changed[name] = -1;
    refuses(changed, name);
    for (const auto& [inner, number] : value.items()) {
      if (!value.is_object()) break;
      for (const nlohmann::json& wrong : {nlohmann::json(0), nlohmann::json(1 << 30), nlohmann::json("2")}) {
        changed = whole;
        changed[name][inner] = wrong;
        refuses(changed, std::string(name).append(".").append(inner));
      }
    }
  }
  auto changed = whole;
  changed["num_heads"] = 5;
  refuses(changed, "num_heads must divide");
  EXPECT_EQ(code_of([] { parse_config("no JSON"); }), ErrorCode::invalid_config);
  EXPECT_TRUE(is_compat(whole.dump()));
  EXPECT_FALSE(is_compat(R"({"model_type": "bitmar"})"));
  EXPECT_FALSE(is_compat("no JSON"));
}

TEST(CompatErrors, WhatCannotBeComputed) {
  const Model model = model_of(Tensors("model.safetensors"));
  const std::vector<int> tokens(5, 40), many(25, 40), unknown{40, 305}, negative{-1};
  const std::vector<float> vector(40), shorter(39), broken(40, std::numeric_limits<float>::quiet_NaN());
  EXPECT_EQ(model.run(tokens, vector, 3).logits.rows, 2);
  EXPECT_EQ(code_of([&] { model.run({}, std::nullopt); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { model.run(many, std::nullopt); }), ErrorCode::text_too_long);
  for (const auto& wrong : {unknown, negative})
    EXPECT_EQ(code_of([&] { model.run(wrong, std::nullopt); }), ErrorCode::invalid_argument);
  for (const auto& wrong : {shorter, broken})
    EXPECT_EQ(code_of([&] { model.run(tokens, wrong); }), ErrorCode::invalid_argument);
  for (const int first : {-1, 5})
    EXPECT_EQ(code_of([&] { model.run(tokens, std::nullopt, first); }), ErrorCode::invalid_argument);
}

// Whatever finite numbers a file holds, what comes out is finite.
TEST(CompatErrors, TheLargestNumbersDoNotOverflow) {
  Random random(3);
  for (const bool negative : {false, true}) {
    Tensors weights("model.safetensors");
    for (auto& [name, tensor] : weights.own) {
      if (tensor.dtype != DType::f32) continue;
      std::vector<float> values(tensor.bytes.size() / sizeof(float), std::numeric_limits<float>::max());
      const bool positive = name == "memory.memory_importance" || name == "memory.memory_std";
      for (float& v : values) {
        if (negative && !positive && random.next() % 2) v = -v;
      }
      if (!tensor.bytes.empty()) std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
    }
    const std::vector<float> vector(40, -std::numeric_limits<float>::max());
    const auto result = model_of(weights).run(std::vector<int>{5, 9, 40}, vector);
    EXPECT_TRUE(std::ranges::all_of(result.logits.values, [](double v) { return std::isfinite(v); }));
    EXPECT_TRUE(std::ranges::all_of(result.shares, [](double v) { return std::isfinite(v); }));
  }
}

TEST(CompatErrors, TextsAndFiles) {
  const TextModel model(folder());
  const std::vector<std::string> none, empty{""}, fine{" dog"}, no_text{"\xFF"};
  EXPECT_EQ(code_of([&] { model.score("a", none, std::nullopt); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { model.score("a", empty, std::nullopt); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { model.score("a", no_text, std::nullopt); }), ErrorCode::invalid_text);
  EXPECT_EQ(code_of([&] { model.complete("a", std::nullopt, 0); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { model.complete(std::string(30, 'z'), std::nullopt, 1); }), ErrorCode::text_too_long);
  // Without a prefix the first token is scored, too; a text ends where the positions end.
  EXPECT_EQ(model.score("", fine, std::nullopt)[0].tokens.size(), model.tokenizer().encode(" dog").size());
  EXPECT_LE(model.complete("", std::nullopt, 100).tokens.size(), 24u);
  std::string message;
  EXPECT_EQ(code_of([] { TextModel(folder() / "none"); }, &message), ErrorCode::missing_file);
  EXPECT_NE(message.find("config.json"), std::string::npos) << message;
}

}  // namespace
}  // namespace bitmar::compat
