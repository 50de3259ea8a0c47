#include "model/fusion.h"

#include <algorithm>
#include <string>

namespace bitmar {

void Fusion::plan(int texts, int visions, const FusionWeights& weights, Needs& needs) {
  for (const FusionLayerWeights& layer : weights.layers) needs.attention(layer.attention, texts, visions);
}

Fusion::Fusion(int heads, int texts, int visions, const FusionWeights& weights, Workspace& workspace, Arena& arena)
    : weights_(weights),
      workspace_(workspace),
      heads_(heads),
      buffers_(texts, visions, static_cast<int>(weights.norm.size()), arena),
      normed_(arena.take<float>(Purpose::activations, static_cast<std::size_t>(texts) * weights.norm.size())),
      out_(arena.take<float>(Purpose::activations, normed_.size())) {}

void Fusion::run(float* x, int n, const float* vision, int m, float* pooled) {
  const int width = static_cast<int>(weights_.norm.size());
  if (vision) {
    for (std::size_t i = 0; i < weights_.layers.size(); ++i) {
      const FusionLayerWeights& layer = weights_.layers[i];
      rms_norm(workspace_, x, layer.norm, n, normed_.data());
      attention(workspace_, layer.attention, heads_, normed_.data(), n, vision, m, buffers_, out_.data());
      workspace_.kernels.add(out_.data(), n * width, x);
      if (workspace_.observer) workspace_.observe("fusion.layers." + std::to_string(i), x, n, width);
    }
  }
  rms_norm(workspace_, x, weights_.norm, n, x);
  workspace_.observe("fused", x, n, width);

  std::fill_n(pooled, width, 0.0f);
  for (int i = 0; i < n; ++i) workspace_.kernels.add(x + i * width, width, pooled);
  for (int j = 0; j < width; ++j) pooled[j] /= static_cast<float>(n);
  workspace_.observe("pooled", pooled, 1, width);
}

}  // namespace bitmar
