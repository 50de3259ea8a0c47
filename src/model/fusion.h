// Cross-attention: text asks, vision answers.
#pragma once

#include <span>

#include "model/layers.h"
#include "model/weights.h"

namespace bitmar {

class Fusion {
 public:
  // At most `texts` text tokens and `visions` vision tokens.
  Fusion(int heads, int texts, int visions, const FusionWeights& weights, Workspace& workspace, Arena& arena);
  static void plan(int texts, int visions, const FusionWeights& weights, Needs& needs);

  // x [n, d] in place: text states -> F. Without vision (nullptr) the text passes through to the norm.
  // vision [m, d]; pooled [d] = mean of F over the tokens.
  void run(float* x, int n, const float* vision, int m, float* pooled);

 private:
  const FusionWeights& weights_;
  Workspace& workspace_;
  int heads_;
  AttentionBuffers buffers_;
  std::span<float> normed_, out_;  // [texts, d]
};

}  // namespace bitmar
