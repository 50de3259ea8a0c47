#include "model/weights.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <set>
#include <span>

#include "io/error.h"
#include "model/magnitude.h"

namespace bitmar {

namespace {

using Shape = std::vector<std::int64_t>;

std::string text(const Shape& shape) {
  std::string s = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) s += (i ? ", " : "") + std::to_string(shape[i]);
  return s + "]";
}

std::string text(DType type) {
  switch (type) {
    case DType::u8:
      return "U8";
    case DType::i8:
      return "I8";
    case DType::i32:
      return "I32";
    case DType::f16:
      return "F16";
    case DType::f32:
      return "F32";
  }
  return "?";
}

// What a layer of the stem reads.
struct StemInput {
  int channels, size;
  bool positive;  // or zero, all of it
};

// Takes tensors out of the file one by one; each must be there, with its type and shape, and be used.
class Binder {
 public:
  Binder(const SafeTensors& file, const Kernels& kernels, Weights& weights)
      : file_(file), kernels_(kernels), weights_(weights) {}

  std::vector<float> floats(const std::string& name, const Shape& shape) {
    const std::span<const std::uint8_t> bytes = take(name, DType::f32, shape);
    std::vector<float> values(bytes.size() / sizeof(float));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    for (const float v : values) {
      if (!std::isfinite(v)) fail(name, "holds a number that is not finite");
    }
    weights_.bytes += bytes.size();
    return values;
  }

  Norm norm(const std::string& name, int n) { return floats(name + ".weight", {n}); }

  std::vector<std::int8_t> int8(const std::string& name, int rows, int columns) {
    const std::span<const std::uint8_t> bytes = take(name, DType::i8, {rows, columns});
    std::vector<std::int8_t> values(bytes.size());
    std::memcpy(values.data(), bytes.data(), bytes.size());
    weights_.bytes += bytes.size();
    return values;
  }

  Linear linear(const std::string& name, int in, int out) {
    if (out % 4 != 0) fail(name + ".weight", "has a number of rows that is no multiple of 4");
    const std::span<const std::uint8_t> packed = take(name + ".weight", DType::u8, {out / 4, in});
    Linear layer{name, PackedTernary(packed, out, in, kernels_.order), floats(name + ".weight_scale", {1})[0], in, out};
    if (!layer.weight.valid()) fail(name + ".weight", "holds a code that is not -1, 0 or 1");
    weights_.bytes += layer.weight.bytes();
    weights_.parameters += 3 * packed.size();  // four to a byte
    return layer;
  }

  AttentionWeights attention(const std::string& name, int width) {
    return {linear(name + ".q_proj", width, width), linear(name + ".k_proj", width, width),
            linear(name + ".v_proj", width, width), linear(name + ".o_proj", width, width),
            norm(name + ".sub_norm", width)};
  }

  FeedForwardWeights feed_forward(const std::string& name, int width, int hidden) {
    return {linear(name + ".up_proj", width, hidden), norm(name + ".sub_norm", hidden),
            linear(name + ".down_proj", hidden, width)};
  }

  std::vector<EncoderLayerWeights> encoder_layers(const std::string& name, int count, int width, int hidden) {
    std::vector<EncoderLayerWeights> layers;
    for (int i = 0; i < count; ++i) {
      const std::string layer = name + "." + std::to_string(i);
      layers.push_back({norm(layer + ".attention_norm", width), attention(layer + ".attention", width),
                        norm(layer + ".ffn_norm", width), feed_forward(layer + ".ffn", width, hidden)});
    }
    return layers;
  }

  Convolution convolution(const std::string& name, const StemLayerConfig& config, const StemInput& in, int out,
                          bool relu) {
    Convolution c{.name = name,
                  .kernel_size = config.kernel_size,
                  .stride = config.stride,
                  .relu = relu,
                  .in_channels = in.channels,
                  .out_channels = out};
    const int patch = config.kernel_size * config.kernel_size * in.channels;
    if (config.weights == StemLayerConfig::Weights::int8) {
      c.int8_weight = int8(name + ".weight", out, patch);
      c.int8_scale = floats(name + ".weight_scale", {out});
    } else {
      c.ternary = linear(name, patch, out);
      if (suits_winograd(config, in, out)) {
        c.winograd = WinogradFilter(c.ternary.weight);
        weights_.bytes += c.winograd.bytes() - c.ternary.weight.bytes();
        c.ternary.weight = PackedTernary();
      }
    }
    c.affine_scale = floats(name + ".affine_scale", {out});
    c.affine_bias = floats(name + ".affine_bias", {out});
    return c;
  }

  // A byte a weight for two thirds of the products; see bench/README.md for what that gains.
  bool suits_winograd(const StemLayerConfig& config, const StemInput& in, int out) const {
    return kernels_.winograd_gemm && in.positive && config.kernel_size == WinogradFilter::kLines &&
           config.stride == 1 && in.size % 2 == 0 && in.size <= kWinogradSize && WinogradFilter::fits(in.channels, out);
  }

  StemLayer stem_layer(const std::string& name, const StemLayerConfig& config, const StemInput& in) {
    StemLayer layer{.config = config, .in_channels = in.channels, .out_channels = in.channels};
    switch (config.type) {
      case StemLayerConfig::Type::max_pool:
        break;
      case StemLayerConfig::Type::conv:
        layer.out_channels = config.out_channels;
        layer.convolutions.push_back(convolution(name, config, in, config.out_channels, config.relu));
        break;
      case StemLayerConfig::Type::residual:
        for (const char* i : {"1", "2"}) {
          layer.norms.push_back(norm(name + ".norm" + i, in.channels));
          // The second one's input has been rectified; what multiplies it may turn it around.
          const bool positive = *i == '2' && std::ranges::all_of(layer.norms[1], [](float w) { return w >= 0; });
          const StemInput normed{in.channels, in.size, positive};
          layer.convolutions.push_back(convolution(name + ".conv" + i, config, normed, in.channels, *i == '1'));
        }
    }
    return layer;
  }

  // A tensor that no part of this model knows means that the config is of another model.
  void check_all_used() const {
    for (const auto& [name, tensor] : file_.tensors()) {
      if (!used_.contains(name)) fail(name, "is no part of the model that the config describes");
    }
  }

 private:
  [[noreturn]] static void fail(const std::string& name, const std::string& what) {
    throw Error(ErrorCode::invalid_model, "tensor " + name + " " + what);
  }

  std::span<const std::uint8_t> take(const std::string& name, DType type, const Shape& shape) {
    const Tensor* tensor = file_.find(name);
    if (!tensor) fail(name, "is missing");
    if (tensor->dtype != type) fail(name, "has type " + text(tensor->dtype) + ", not " + text(type));
    if (tensor->shape != shape) fail(name, "has shape " + text(tensor->shape) + ", the config says " + text(shape));
    used_.insert(name);
    weights_.parameters += tensor->elements();
    return tensor->data;
  }

  const SafeTensors& file_;
  const Kernels& kernels_;
  Weights& weights_;
  std::set<std::string> used_;
};

}  // namespace

Weights::Weights(const Config& c, const SafeTensors& file, const Kernels& kernels) {
  Binder bind(file, kernels, *this);
  const int d = c.hidden_size, width = c.vision.hidden_size, memory_width = c.memory.width;
  const auto at = [](const char* prefix, int i) { return prefix + std::to_string(i); };

  if (c.vision.takes_pixels()) {
    StemInput in{3, c.vision.image_size, false};
    for (int i = 0; i < static_cast<int>(c.vision.stem.size()); ++i) {
      const StemLayerConfig& config = c.vision.stem[i];
      vision.stem.push_back(bind.stem_layer(at("vision.stem.", i), config, in));
      const bool pool = config.type == StemLayerConfig::Type::max_pool;
      in = {vision.stem.back().out_channels, config.output_size(in.size), pool ? in.positive : config.relu};
    }
    vision.position_embedding =
        bind.floats("vision.position_embedding", {c.vision.grid_size * c.vision.grid_size, width});
    vision.layers = bind.encoder_layers("vision.layers", c.vision.num_layers, width, c.vision.intermediate_size);
    vision.norm = bind.norm("vision.norm", width);
    vision.feature_proj = bind.linear("vision.feature_proj", width, c.vision.feature_size);
  }

  compressor.fc1 = bind.linear("compressor.fc1", c.vision.feature_size, c.compressor.hidden_size);
  compressor.fc2 = bind.linear("compressor.fc2", c.compressor.hidden_size, d);
  compressor.norm = bind.norm("compressor.norm", d);

  embedding.weight = bind.int8("embedding.weight", c.vocab_size, d);
  embedding.scale = bind.floats("embedding.weight_scale", {c.vocab_size});

  text_encoder.layers =
      bind.encoder_layers("text_encoder.layers", c.text_encoder.num_layers, d, c.text_encoder.intermediate_size);
  text_encoder.norm = bind.norm("text_encoder.norm", d);

  for (int i = 0; i < c.fusion.num_layers; ++i) {
    const std::string layer = at("fusion.layers.", i);
    fusion.layers.push_back({bind.norm(layer + ".norm", d), bind.attention(layer + ".attention", d)});
  }
  fusion.norm = bind.norm("fusion.norm", d);

  memory.query_proj = bind.linear("memory.query_proj", d, memory_width);
  memory.value_proj = bind.linear("memory.value_proj", d, memory_width);
  memory.out_proj = bind.linear("memory.out_proj", memory_width, d);
  memory.out_norm = bind.norm("memory.out_norm", d);

  for (int i = 0; i < c.decoder.num_layers; ++i) {
    const std::string layer = at("decoder.layers.", i);
    decoder.layers.push_back({bind.norm(layer + ".attention_norm", d), bind.attention(layer + ".attention", d),
                              bind.linear(layer + ".conditioning.k_proj", d, d),
                              bind.linear(layer + ".conditioning.v_proj", d, d), bind.norm(layer + ".ffn_norm", d),
                              bind.feed_forward(layer + ".ffn", d, c.decoder.intermediate_size)});
  }
  decoder.norm = bind.norm("decoder.norm", d);

  if (c.bag_of_words) {
    const int summary = 2 * (c.vision.feature_size + d);
    const std::string head = file.find("words.center") ? "words" : "bag_of_words";  // the former in earlier models
    bag_of_words = {bind.floats(head + ".center", {summary}), bind.floats(head + ".scale", {summary}),
                    bind.linear(head + ".proj", summary, d), bind.floats(head + ".bias", {c.vocab_size}),
                    bind.floats(head + ".rarity", {c.vocab_size})};
  }
  bind.check_all_used();
  check_magnitudes(c, *this);
}

}  // namespace bitmar
