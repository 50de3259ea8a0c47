// Small models of random shapes and weights: the same one for the same seed everywhere. Their vocabulary is the tiny
// model's.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "io/image.h"
#include "io/model_files.h"
#include "runtime/random.h"
#include "tiny_model.h"

namespace bitmar {

class RandomModel {
 public:
  explicit RandomModel(std::uint64_t seed, bool features = false) : random_(seed), features_(features) {
    directory_ = read_model_directory(tiny_folder());
    config_ = nlohmann::json::parse(directory_.config_json);
    shape();
    fill();
    directory_.config_json = config_.dump();
    auto preprocessor = nlohmann::json::parse(directory_.preprocessor_json);
    preprocessor["size"] = {{"height", image_size_}, {"width", image_size_}};
    directory_.preprocessor_json = preprocessor.dump();
    const std::string header = header_.dump();
    for (int i = 0; i < 8; ++i)
      directory_.safetensors.push_back(static_cast<std::uint8_t>(std::uint64_t{header.size()} >> 8 * i));
    directory_.safetensors.insert(directory_.safetensors.end(), header.begin(), header.end());
    directory_.safetensors.insert(directory_.safetensors.end(), body_.begin(), body_.end());
  }

  const ModelDirectory& files() const { return directory_; }

  // Something to look at: RGB or RGBA of any size.
  struct Picture {
    std::vector<std::uint8_t> bytes;
    int width, height;
    ImageView view() const { return image_view(bytes, width, height); }
  };
  Picture picture() {
    Picture p{.bytes = {}, .width = between(1, 60), .height = between(1, 60)};
    p.bytes.resize(static_cast<std::size_t>(p.width) * p.height * between(3, 4));
    const int step = between(1, 40);
    int value = 0;
    for (auto& b : p.bytes) b = static_cast<std::uint8_t>(value += between(-step, step));
    return p;
  }
  std::vector<float> grid() {
    const int size = config_["vision"]["grid_size"], width = config_["vision"]["feature_size"];
    std::vector<float> values(static_cast<std::size_t>(size) * size * width);
    for (float& v : values) v = real(-3, 3);
    return values;
  }

 private:
  int between(int low, int high) {
    return low + static_cast<int>(random_.next() % static_cast<unsigned>(high - low + 1));
  }
  float real(float low, float high) { return low + (high - low) * static_cast<float>(random_.uniform()); }
  int width(int most) { return 4 * between(1, most / 4); }
  // A number of heads that divides a width, and leaves each an even one.
  int heads(int of) {
    std::vector<int> possible;
    for (int n = 1; n <= of / 2; ++n) {
      if (of % n == 0 && of / n % 2 == 0) possible.push_back(n);
    }
    return possible[random_.next() % possible.size()];
  }

  void shape() {
    const int d = config_["hidden_size"] = width(64);
    auto& vision = config_["vision"];
    const int w = width(48), features = width(64);
    // Layers that end in a grid of `grid`: the sizes before them follow.
    vision["feature_size"] = features;
    if (features_) {
      const int grid = between(1, 6);
      vision = {{"input", "features"}, {"grid_size", grid}, {"feature_size", features}};
    } else {
      vision["hidden_size"] = w;
      vision["num_layers"] = between(0, 2);
      vision["num_heads"] = heads(w);
      vision["intermediate_size"] = width(80);
      vision["image_size"] = image_size_ = between(8, 40);
      int size = image_size_;
      auto stem = nlohmann::json::array();
      const auto add_conv = [&](bool first, int channels) {
        const int kernel = 1 + 2 * between(0, 2), stride = size > 6 ? between(1, 2) : 1;
        stem.push_back({{"type", "conv"},
                        {"out_channels", channels},
                        {"kernel_size", kernel},
                        {"stride", stride},
                        {"weights", first ? "int8" : "ternary"},
                        {"activation", between(0, 1) ? "relu" : "none"}});
        size = (size - 1) / stride + 1;
      };
      add_conv(true, width(32));
      for (int more = between(0, 4); more > 0; --more) {
        switch (between(0, 2)) {
          case 0:
            add_conv(false, between(0, 1) ? 16 * between(1, 2) : width(32));  // of some Winograd's products
            break;
          case 1:
            stem.push_back({{"type", "residual"}, {"kernel_size", 1 + 2 * between(0, 1)}});
            break;
          default:
            stem.push_back({{"type", "max_pool"}, {"kernel_size", 3}, {"stride", size > 6 ? 2 : 1}});
            if (size > 6) size = (size - 1) / 2 + 1;
        }
      }
      while (size > 8) {
        stem.push_back({{"type", "max_pool"}, {"kernel_size", 3}, {"stride", 2}});
        size = (size - 1) / 2 + 1;
      }
      stem.push_back({{"type", "conv"},
                      {"out_channels", w},
                      {"kernel_size", 1},
                      {"stride", 1},
                      {"weights", "ternary"},
                      {"activation", "none"}});
      vision["stem"] = stem;
      vision["grid_size"] = size;
    }
    const int grid = vision["grid_size"];
    std::vector<int> pools;
    for (int p = 1; p <= grid; ++p) {
      if (grid % p == 0) pools.push_back(p);
    }
    config_["compressor"] = {{"pool_size", pools[random_.next() % pools.size()]}, {"hidden_size", width(64)}};
    for (const char* stage : {"text_encoder", "decoder"}) {
      config_[stage]["num_layers"] = between(1, 3);
      config_[stage]["num_heads"] = heads(d);
      config_[stage]["intermediate_size"] = width(96);
    }
    config_["text_encoder"]["max_tokens"] = between(4, 20);
    config_["fusion"] = {{"num_layers", between(0, 2)}, {"num_heads", heads(d)}};
    config_["memory"]["width"] = width(48);
    config_["memory"]["num_slots"] = between(1, 9);
    config_["decoder"]["num_sinks"] = between(0, 3);
    config_["decoder"]["window_size"] = between(18, 40);
    if (between(0, 1)) {
      config_["bag_of_words"] = {
          {"guidance", real(0, 5)}, {"rerank_weight", real(0, 5)}, {"length_penalty", real(0, 2)}};
    } else {
      config_.erase("bag_of_words");
    }
    if (between(0, 1)) {
      config_["confidence"] = {
          {"slope", real(-2, 2)}, {"similarity", real(-2, 2)}, {"offset", real(-2, 2)}, {"agreement", real(-2, 2)}};
    }
  }

  // ---- Tensors, by the names of model/weights.cpp ----

  template <class T>
  void tensor(const std::string& name, const char* type, const std::vector<int>& sizes, std::size_t count, T next) {
    const std::size_t begin = body_.size();
    for (std::size_t i = 0; i < count; ++i) {
      const auto value = next();
      const auto bytes = std::bit_cast<std::array<std::uint8_t, sizeof value>>(value);
      body_.insert(body_.end(), bytes.begin(), bytes.end());
    }
    header_[name] = {{"dtype", type}, {"shape", sizes}, {"data_offsets", {begin, body_.size()}}};
  }
  void floats(const std::string& name, const std::vector<int>& sizes, float low, float high) {
    const auto count = std::accumulate(sizes.begin(), sizes.end(), std::size_t{1},
                                       [](std::size_t a, int b) { return a * static_cast<std::size_t>(b); });
    tensor(name, "F32", sizes, count, [&] { return real(low, high); });
  }
  void int8(const std::string& name, int rows, int columns) {
    tensor(name, "I8", {rows, columns}, static_cast<std::size_t>(rows) * columns,
           [&] { return static_cast<std::int8_t>(between(-128, 127)); });
  }
  void norm(const std::string& name, int n) { floats(name + ".weight", {n}, -0.3f, 2); }
  void linear(const std::string& name, int in, int out) {
    tensor(name + ".weight", "U8", {out / 4, in}, static_cast<std::size_t>(out / 4) * in, [&] {
      int packed = 0;
      for (int shift = 0; shift < 8; shift += 2) packed |= between(0, 2) << shift;
      return static_cast<std::uint8_t>(packed);
    });
    floats(name + ".weight_scale", {1}, 0.01f, 0.2f);
  }
  void attention(const std::string& name, int n) {
    for (const char* part : {".q_proj", ".k_proj", ".v_proj", ".o_proj"}) linear(name + part, n, n);
    norm(name + ".sub_norm", n);
  }
  void feed_forward(const std::string& name, int n, int hidden) {
    linear(name + ".up_proj", n, hidden);
    norm(name + ".sub_norm", hidden);
    linear(name + ".down_proj", hidden, n);
  }
  void encoder(const std::string& name, const nlohmann::json& config, int n) {
    for (int i = 0; i < config["num_layers"].get<int>(); ++i) {
      const std::string layer = name + "." + std::to_string(i);
      norm(layer + ".attention_norm", n);
      attention(layer + ".attention", n);
      norm(layer + ".ffn_norm", n);
      feed_forward(layer + ".ffn", n, config["intermediate_size"]);
    }
  }
  void convolution(const std::string& name, int kernel, int in, int out, bool first) {
    if (first) {
      int8(name + ".weight", out, kernel * kernel * in);
      floats(name + ".weight_scale", {out}, 1e-4f, 1e-3f);
    } else {
      linear(name, kernel * kernel * in, out);
    }
    floats(name + ".affine_scale", {out}, -2, 2);
    floats(name + ".affine_bias", {out}, -1, 1);
  }

  void fill() {
    const int d = config_["hidden_size"], features = config_["vision"]["feature_size"],
              vocabulary = config_["vocab_size"], memory = config_["memory"]["width"];
    directory_.safetensors.clear();
    if (!features_) {
      const auto& vision = config_["vision"];
      const int w = vision["hidden_size"], grid = vision["grid_size"];
      int channels = 3;
      for (std::size_t i = 0; i < vision["stem"].size(); ++i) {
        const auto& layer = vision["stem"][i];
        const std::string name = "vision.stem." + std::to_string(i);
        if (layer["type"] == "conv") {
          convolution(name, layer["kernel_size"], channels, layer["out_channels"], i == 0);
          channels = layer["out_channels"];
        } else if (layer["type"] == "residual") {
          for (const char* part : {"1", "2"}) {
            norm(name + ".norm" + part, channels);
            convolution(name + ".conv" + part, layer["kernel_size"], channels, channels, false);
          }
        }
      }
      floats("vision.position_embedding", {grid * grid, w}, -1, 1);
      encoder("vision.layers", vision, w);
      norm("vision.norm", w);
      linear("vision.feature_proj", w, features);
    }
    linear("compressor.fc1", features, config_["compressor"]["hidden_size"]);
    linear("compressor.fc2", config_["compressor"]["hidden_size"], d);
    norm("compressor.norm", d);
    int8("embedding.weight", vocabulary, d);
    floats("embedding.weight_scale", {vocabulary}, 0.001f, 0.02f);
    encoder("text_encoder.layers", config_["text_encoder"], d);
    norm("text_encoder.norm", d);
    for (int i = 0; i < config_["fusion"]["num_layers"].get<int>(); ++i) {
      norm("fusion.layers." + std::to_string(i) + ".norm", d);
      attention("fusion.layers." + std::to_string(i) + ".attention", d);
    }
    norm("fusion.norm", d);
    linear("memory.query_proj", d, memory);
    linear("memory.value_proj", d, memory);
    linear("memory.out_proj", memory, d);
    norm("memory.out_norm", d);
    encoder("decoder.layers", config_["decoder"], d);
    for (int i = 0; i < config_["decoder"]["num_layers"].get<int>(); ++i) {
      for (const char* part : {"k_proj", "v_proj"})
        linear("decoder.layers." + std::to_string(i) + ".conditioning." + part, d, d);
    }
    norm("decoder.norm", d);
    if (config_.contains("bag_of_words")) {
      const int summary = 2 * (features + d);
      floats("bag_of_words.center", {summary}, -1, 1);
      floats("bag_of_words.scale", {summary}, 0, 2);
      linear("bag_of_words.proj", summary, d);
      floats("bag_of_words.bias", {vocabulary}, -4, 1);
      floats("bag_of_words.rarity", {vocabulary}, 0, 8);
    }
  }

  Random random_;
  bool features_;
  int image_size_ = 32;
  nlohmann::json config_, header_ = nlohmann::json::object();
  std::vector<std::uint8_t> body_;
  ModelDirectory directory_;
};

}  // namespace bitmar
