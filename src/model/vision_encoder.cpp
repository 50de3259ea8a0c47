#include "model/vision_encoder.h"

#include <algorithm>
#include <string>

namespace bitmar {

namespace {

// Builds a stage and gives its activations back to the arena at once: the next stage overwrites them.
template <class Build>
auto shared(Arena& arena, const Build& build) {
  const std::size_t mark = arena.mark(Purpose::activations);
  auto stage = build();
  arena.rewind(Purpose::activations, mark);
  return stage;
}

}  // namespace

void VisionEncoder::plan(const VisionConfig& config, const VisionWeights& weights, Needs& needs) {
  const int patches = config.grid_size * config.grid_size;
  Stem::plan(weights.stem, needs);
  for (const EncoderLayerWeights& layer : weights.layers) needs.encoder_layer(layer, patches);
  needs.product(weights.feature_proj, std::min(patches, kRowsAPiece));
}

// The stem's maps and the transformer's buffers are never needed at once, so they share memory: x_ alone
// carries the patches from one to the other.
VisionEncoder::VisionEncoder(const VisionConfig& config, const VisionWeights& weights, Workspace& workspace,
                             Arena& arena)
    : config_(config),
      weights_(weights),
      workspace_(workspace),
      patches_(config.grid_size * config.grid_size),
      x_(arena.take<float>(Purpose::activations, static_cast<std::size_t>(patches_) * config.hidden_size)),
      stem_(shared(arena, [&] { return Stem(weights.stem, config.image_size, workspace, arena); })),
      buffers_(patches_, config.hidden_size, config.intermediate_size, arena) {}

void VisionEncoder::run(const std::uint8_t* rgb, float* features) {
  const int size = patches_ * config_.hidden_size;
  std::copy_n(stem_.run(rgb), size, x_.data());
  workspace_.kernels.add(weights_.position_embedding.data(), size, x_.data());
  for (std::size_t i = 0; i < weights_.layers.size(); ++i) {
    encoder_layer(workspace_, weights_.layers[i], config_.num_heads, patches_, nullptr, buffers_, x_.data());
    if (workspace_.observer) {
      workspace_.observe("vision.layers." + std::to_string(i), x_.data(), patches_, config_.hidden_size);
    }
  }
  workspace_.for_rows(patches_, [&](int first, int n, const Workspace& own) {
    float* x = x_.data() + first * config_.hidden_size;
    rms_norm(own, x, weights_.norm, n, x);
    linear(own, weights_.feature_proj, x, n, features + first * config_.feature_size);
  });
  workspace_.observe("features", features, patches_, config_.feature_size);
}

}  // namespace bitmar
