#include "model/compressor.h"

#include <algorithm>

namespace bitmar {

void Compressor::plan(int grid, int pool, const CompressorWeights& weights, Needs& needs) {
  const int tokens = grid / pool * (grid / pool);
  needs.product(weights.fc1, tokens);
  needs.product(weights.fc2, tokens);
}

Compressor::Compressor(int grid, int pool, const CompressorWeights& weights, Workspace& workspace, Arena& arena)
    : weights_(weights),
      workspace_(workspace),
      grid_(grid),
      pool_(pool),
      side_(grid / pool),
      pooled_(arena.take<float>(Purpose::activations, static_cast<std::size_t>(tokens()) * weights.fc1.in)),
      hidden_(arena.take<float>(Purpose::activations, static_cast<std::size_t>(tokens()) * weights.fc1.out)) {}

void Compressor::run(const float* features, float* tokens_out) {
  const int width = weights_.fc1.in;
  const float area = static_cast<float>(pool_ * pool_);
  std::fill(pooled_.begin(), pooled_.end(), 0.0f);
  // Rows and columns beyond the last whole window are left out, as in average pooling without padding.
  for (int y = 0; y < side_ * pool_; ++y) {
    for (int x = 0; x < side_ * pool_; ++x) {
      float* cell = pooled_.data() + (y / pool_ * side_ + x / pool_) * width;
      workspace_.kernels.add(features + (y * grid_ + x) * width, width, cell);
    }
  }
  for (float& v : pooled_) v /= area;

  linear(workspace_, weights_.fc1, pooled_.data(), tokens(), hidden_.data());
  workspace_.kernels.relu(hidden_.data(), static_cast<int>(hidden_.size()));
  linear(workspace_, weights_.fc2, hidden_.data(), tokens(), tokens_out);
  rms_norm(workspace_, tokens_out, weights_.norm, tokens(), tokens_out);
  workspace_.observe("vision_tokens", tokens_out, tokens(), weights_.fc2.out);
}

}  // namespace bitmar
