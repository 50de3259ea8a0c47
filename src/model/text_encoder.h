// Prompt tokens to states: a bidirectional ternary transformer with rotary positions.
#pragma once

#include <span>

#include "model/layers.h"
#include "model/weights.h"

namespace bitmar {

class TextEncoder {
 public:
  TextEncoder(const TextEncoderConfig& config, int width, const TextEncoderWeights& weights, Workspace& workspace,
              Arena& arena);
  static void plan(const TextEncoderConfig& config, const TextEncoderWeights& weights, Needs& needs);

  // x [n, d] in place: token embeddings -> states
  void run(float* x, int n);

 private:
  const TextEncoderConfig& config_;
  const TextEncoderWeights& weights_;
  Workspace& workspace_;
  std::span<float> cos_, sin_;  // [max_tokens, head / 2]
  LayerBuffers buffers_;
};

}  // namespace bitmar
