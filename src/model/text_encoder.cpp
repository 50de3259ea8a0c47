#include "model/text_encoder.h"

#include <string>

#include "runtime/rotary.h"

namespace bitmar {

void TextEncoder::plan(const TextEncoderConfig& config, const TextEncoderWeights& weights, Needs& needs) {
  for (const EncoderLayerWeights& layer : weights.layers) needs.encoder_layer(layer, config.max_tokens);
}

TextEncoder::TextEncoder(const TextEncoderConfig& config, int width, const TextEncoderWeights& weights,
                         Workspace& workspace, Arena& arena)
    : config_(config),
      weights_(weights),
      workspace_(workspace),
      buffers_(config.max_tokens, width, config.intermediate_size, arena) {
  const int head = width / config.num_heads, half = head / 2;
  cos_ = arena.take<float>(Purpose::activations, static_cast<std::size_t>(config.max_tokens) * half);
  sin_ = arena.take<float>(Purpose::activations, cos_.size());
  if (!cos_.data()) return;  // measuring
  RotaryPhase phase(head, config.rope_theta);
  for (int i = 0; i < config.max_tokens; ++i, phase.advance()) phase.write(&cos_[i * half], &sin_[i * half]);
}

void TextEncoder::run(float* x, int n) {
  const RotaryTable rope{cos_, sin_};
  const int width = static_cast<int>(weights_.norm.size());
  for (std::size_t i = 0; i < weights_.layers.size(); ++i) {
    encoder_layer(workspace_, weights_.layers[i], config_.num_heads, n, &rope, buffers_, x);
    if (workspace_.observer) workspace_.observe("text_encoder.layers." + std::to_string(i), x, n, width);
  }
  rms_norm(workspace_, x, weights_.norm, n, x);
  workspace_.observe("text_states", x, n, width);
}

}  // namespace bitmar
