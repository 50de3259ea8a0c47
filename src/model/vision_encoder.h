// Pixels to features: the stem, then the ternary vision transformer.
#pragma once

#include <cstdint>
#include <span>

#include "model/layers.h"
#include "model/stem.h"
#include "model/weights.h"

namespace bitmar {

class VisionEncoder {
 public:
  VisionEncoder(const VisionConfig& config, const VisionWeights& weights, Workspace& workspace, Arena& arena);
  static void plan(const VisionConfig& config, const VisionWeights& weights, Needs& needs);

  // rgb [S, S, 3] uint8 -> features [P, feature_size]
  void run(const std::uint8_t* rgb, float* features);

 private:
  const VisionConfig& config_;
  const VisionWeights& weights_;
  Workspace& workspace_;
  int patches_;         // P
  std::span<float> x_;  // [P, vision width]
  Stem stem_;
  LayerBuffers buffers_;
};

}  // namespace bitmar
