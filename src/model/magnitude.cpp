#include "model/magnitude.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "io/error.h"

namespace bitmar {

namespace {

// The sum of 4096 squares, and a product with the largest of scales, are still floats.
constexpr double kMost = 1e15;
constexpr double kUnit = 1.001;       // of a unit vector, and its rounding
constexpr double kLeastScale = 1e-5;  // of a quantised row, times 127

double checked(double magnitude, const std::string& name) {
  if (!(magnitude <= kMost)) {
    throw Error(ErrorCode::invalid_model, "tensor " + name + " lets numbers grow beyond what the engine computes with");
  }
  return magnitude;
}

double largest(std::span<const float> values) {
  double most = 0;
  for (const float v : values) most = std::max(most, std::abs(static_cast<double>(v)));
  return most;
}

// Each function takes the largest magnitude of its inputs and gives that of its outputs, as layers.h computes them.

double norm(const Norm& weight, const std::string& name) {
  return checked(std::sqrt(static_cast<double>(weight.size())) * largest(weight), name + ".weight");
}

// Ternary weights are at most 1, and a row's scale times 127 is its largest element.
double product(int in, double x, double scale) { return in * std::max(x, kLeastScale) * std::abs(scale); }

double linear(const Linear& layer, double x) {
  return checked(product(layer.in, x, layer.scale), layer.name + ".weight_scale");
}

double convolution(const Convolution& c, double x) {
  const int patch = c.kernel_size * c.kernel_size * c.in_channels;
  constexpr double kInt8 = 128;
  const bool int8 = !c.int8_weight.empty();
  const double before =
      checked(int8 ? patch * kInt8 * kInt8 * largest(c.int8_scale) : product(patch, x, c.ternary.scale),
              c.name + ".weight_scale");
  const double scaled = checked(before * largest(c.affine_scale), c.name + ".affine_scale");
  return checked(scaled + largest(c.affine_bias), c.name + ".affine_bias");
}

double stem(const std::vector<StemLayer>& layers) {
  double x = 0;
  for (const StemLayer& layer : layers) {
    double y = x;
    for (std::size_t i = 0; i < layer.convolutions.size(); ++i) {
      const Convolution& c = layer.convolutions[i];
      y = convolution(c, layer.norms.empty() ? y : norm(layer.norms[i], c.name + ", its norm"));
    }
    const bool residual = layer.config.type == StemLayerConfig::Type::residual;
    x = residual ? checked(x + y, layer.convolutions.back().name) : y;
  }
  return x;
}

// The mean of values by weights that sum to 1 is no larger than the largest value. Scores are products of a query and a
// key; what keeps those in bounds keeps these.
double attention(const AttentionWeights& w, double x, double context, double other_values = 0) {
  linear(w.q_proj, x);
  linear(w.k_proj, context);
  checked(std::max(linear(w.v_proj, context), other_values), w.v_proj.name);
  return linear(w.o_proj, norm(w.sub_norm, w.o_proj.name + ", its norm"));
}

double feed_forward(const FeedForwardWeights& w, double x) {
  const double hidden = linear(w.up_proj, x);
  checked(hidden * hidden, w.up_proj.name + ".weight_scale");
  return linear(w.down_proj, norm(w.sub_norm, w.down_proj.name + ", its norm"));
}

double encoder_layers(const std::vector<EncoderLayerWeights>& layers, double x) {
  for (const EncoderLayerWeights& w : layers) {
    const std::string& name = w.attention.q_proj.name;
    const double normed = norm(w.attention_norm, name + ", the norm before it");
    x = checked(x + attention(w.attention, normed, normed), name);
    x = checked(x + feed_forward(w.ffn, norm(w.ffn_norm, w.ffn.up_proj.name + ", the norm before it")), name);
  }
  return x;
}

// The states [d] that the table of tokens scores.
void scores(const EmbeddingWeights& table, double states, int d) {
  checked(product(d, states, 127), "embedding.weight");
  checked(product(d, states, 127) * largest(table.scale), "embedding.weight_scale");
}

}  // namespace

void check_magnitudes(const Config& c, const Weights& w) {
  double features = kMostFeature;
  if (c.vision.takes_pixels()) {
    double x = stem(w.vision.stem) + largest(w.vision.position_embedding);
    x = encoder_layers(w.vision.layers, checked(x, "vision.position_embedding"));
    features = linear(w.vision.feature_proj, norm(w.vision.norm, "vision.norm"));
  }
  const int area = c.compressor.pool_size * c.compressor.pool_size;
  checked(features * area, "vision.feature_proj.weight_scale");
  linear(w.compressor.fc2, linear(w.compressor.fc1, features));
  const double vision = norm(w.compressor.norm, "compressor.norm");

  const double embedding = checked(128 * largest(w.embedding.scale), "embedding.weight_scale");
  encoder_layers(w.text_encoder.layers, embedding);
  double text = norm(w.text_encoder.norm, "text_encoder.norm");
  for (const FusionLayerWeights& layer : w.fusion.layers) {
    const std::string& name = layer.attention.q_proj.name;
    text = checked(text + attention(layer.attention, norm(layer.norm, name + ", the norm before it"), vision), name);
  }
  const double fused = norm(w.fusion.norm, "fusion.norm");
  checked(fused * c.text_encoder.max_tokens, "fusion.norm.weight");

  linear(w.memory.query_proj, fused);
  linear(w.memory.value_proj, fused);
  linear(w.memory.out_proj, kUnit);
  const double recalled = norm(w.memory.out_norm, "memory.out_norm");

  const double conditioning = std::max({fused, vision, recalled});
  double x = embedding;
  for (const DecoderLayerWeights& layer : w.decoder.layers) {
    const std::string& name = layer.attention.q_proj.name;
    linear(layer.conditioning_k, conditioning);
    const double normed = norm(layer.attention_norm, name + ", the norm before it");
    x = checked(x + attention(layer.attention, normed, normed, linear(layer.conditioning_v, conditioning)), name);
    x = checked(x + feed_forward(layer.ffn, norm(layer.ffn_norm, layer.ffn.up_proj.name + ", the norm before it")),
                name);
  }
  scores(w.embedding, norm(w.decoder.norm, "decoder.norm"), c.hidden_size);

  if (c.bag_of_words) {
    const double patches = static_cast<double>(c.vision.grid_size) * c.vision.grid_size;
    const double seen = checked(std::max(features * patches, vision * patches), "bag_of_words.center");
    const double centred = checked(seen + largest(w.bag_of_words.center), "bag_of_words.center");
    const double summary = checked(centred * largest(w.bag_of_words.scale), "bag_of_words.scale");
    scores(w.embedding, linear(w.bag_of_words.proj, summary), c.hidden_size);
    checked(largest(w.bag_of_words.bias), "bag_of_words.bias");
    checked(largest(w.bag_of_words.rarity), "bag_of_words.rarity");
  }
}

}  // namespace bitmar
