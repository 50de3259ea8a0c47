#include "compat/weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "io/error.h"

namespace bitmar::compat {

namespace {

using Shape = std::vector<std::int64_t>;

[[noreturn]] void fail(const std::string& name, const std::string& what) {
  throw Error(ErrorCode::invalid_model, "tensor " + name + " " + what);
}

std::string text(const Shape& shape) {
  std::string s = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) s += (i ? ", " : "") + std::to_string(shape[i]);
  return s + "]";
}

// Takes tensors out of the file one by one; each must be there, with its type and shape, and be used.
class Binder {
 public:
  Binder(const SafeTensors& file, const Kernels& kernels) : file_(file), kernels_(kernels) {}

  std::vector<float> floats(const std::string& name, const Shape& shape) {
    const std::span<const std::uint8_t> bytes = take(name, DType::f32, shape);
    std::vector<float> values(bytes.size() / sizeof(float));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    if (!std::ranges::all_of(values, [](float v) { return std::isfinite(v); }))
      fail(name, "holds a number that is not finite");
    return values;
  }

  std::vector<float> not_negative(const std::string& name, int n) {
    std::vector<float> values = floats(name, {n});
    if (std::ranges::any_of(values, [](float v) { return v < 0; })) fail(name, "holds a negative number");
    return values;
  }

  Linear linear(const std::string& name, int in, int out, bool bias = true) {
    const std::string weight = name + ".weight";
    const int rows = (out + 3) / 4 * 4;
    const std::span<const std::uint8_t> packed = take(weight, DType::u8, {rows / 4, in});
    Linear layer{.weight = PackedTernary(packed, rows, in, kernels_.order), .in = in, .out = out};
    if (!layer.weight.valid()) fail(weight, "holds a code that is not -1, 0 or 1");
    for (int row = 0; row < out; ++row) {
      std::int32_t sum = 0;
      for (int column = 0; column < in; ++column) sum += layer.weight.value(row, column);
      layer.sums.push_back(sum);
    }
    layer.scale = floats(weight + "_scale", {1})[0];
    if (bias) layer.bias = floats(name + ".bias", {out});
    return layer;
  }

  Norm norm(const std::string& name, int n) { return {floats(name + ".weight", {n}), floats(name + ".bias", {n})}; }

  Transformer transformer(const std::string& name, int layers, const Config& c) {
    const int d = c.hidden_size;
    Transformer t{.positions = floats(name + ".position_embedding.weight", {c.max_positions, d}),
                  .blocks = {},
                  .norm = norm(name + ".norm", d)};
    for (int i = 0; i < layers; ++i) {
      const std::string layer = name + ".layers." + std::to_string(i);
      const std::string attention = layer + ".attn.";
      t.blocks.push_back({norm(layer + ".norm1", d), linear(attention + "q_proj", d, d),
                          linear(attention + "k_proj", d, d), linear(attention + "v_proj", d, d),
                          linear(attention + "out_proj", d, d), norm(layer + ".norm2", d),
                          linear(layer + ".mlp.fc1", d, c.intermediate_size),
                          linear(layer + ".mlp.fc2", c.intermediate_size, d), norm(layer + ".mlp.norm", d)});
    }
    return t;
  }

  MemoryNet memory_net(const std::string& name, int d) {
    return {linear(name + ".0", d, d), norm(name + ".1", d), linear(name + ".3", d, d)};
  }

  // A tensor that no part of this model knows means that the config is of another model.
  void check_all_used() const {
    for (const auto& [name, tensor] : file_.tensors()) {
      if (!used_.contains(name)) fail(name, "is no part of the model that the config describes");
    }
  }

 private:
  std::span<const std::uint8_t> take(const std::string& name, DType type, const Shape& shape) {
    const Tensor* tensor = file_.find(name);
    if (!tensor) fail(name, "is missing");
    if (tensor->dtype != type)
      fail(name, type == DType::u8 ? "has a type that is not U8" : "has a type that is not F32");
    if (tensor->shape != shape) fail(name, "has shape " + text(tensor->shape) + ", the config says " + text(shape));
    used_.insert(name);
    return tensor->data;
  }

  const SafeTensors& file_;
  const Kernels& kernels_;
  std::set<std::string> used_;
};

}  // namespace

Weights::Weights(const Config& c, const SafeTensors& file, const Kernels& kernels) {
  Binder bind(file, kernels);
  const int d = c.hidden_size;
  tokens = bind.floats("text_encoder.token_embedding.weight", {c.vocab_size, d});
  text_encoder = bind.transformer("text_encoder", c.text_layers, c);
  decoder = bind.transformer("text_decoder", c.decoder_layers, c);
  lm_head = bind.linear("text_decoder.lm_head", d, c.vocab_size, false);

  for (const int i : {0, 1}) {
    const std::string at = std::to_string(i);
    vision.push_back(
        {bind.linear("vision_encoder.layers." + at, i ? c.vision_hidden : c.vision_features, c.vision_hidden),
         bind.norm("vision_encoder.layer_norms." + at, c.vision_hidden)});
  }
  vision_proj = bind.linear("vision_encoder.output_proj", c.vision_hidden, d);

  fusion_text_proj = bind.linear("fusion.text_proj", d, d);
  fusion_vision_proj = bind.linear("fusion.vision_proj", d, d);
  for (int i = 0; i < c.fusion_layers; ++i) {
    const std::string at = std::to_string(i), attention = "fusion.cross_attention_layers." + at;
    fusion.push_back({bind.linear(attention + ".v_proj", d, d), bind.linear(attention + ".out_proj", d, d),
                      bind.norm("fusion.layer_norms." + at, d)});
  }
  fusion_output_proj = bind.linear("fusion.output_proj", d, d);

  memory.slots = bind.floats("memory.memory", {c.num_slots, d});
  memory.importance = bind.not_negative("memory.memory_importance", c.num_slots);
  memory.mean = bind.floats("memory.memory_mean", {d});
  memory.std = bind.not_negative("memory.memory_std", d);
  memory.writes = bind.floats("memory.update_count", {1})[0];
  memory.temperature = bind.floats("memory.attention_temperature", {1})[0];
  memory.query_net = bind.memory_net("memory.query_net", d);
  memory.key_net = bind.memory_net("memory.key_net", d);
  memory.value_net = bind.memory_net("memory.value_net", d);

  text_to_episode = bind.linear("text_to_episode", d, d);
  vision_to_episode = bind.linear("vision_to_episode", d, d);
  memory_to_decoder = bind.linear("memory_to_decoder", d, d);
  decoder_input_proj = bind.linear("decoder_input_proj", d, d);
  bind.check_all_used();
}

}  // namespace bitmar::compat
