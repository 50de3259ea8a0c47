// Features to vision tokens: the paper's average pooling of the grid and two-layer MLP.
#pragma once

#include <span>

#include "model/layers.h"
#include "model/weights.h"

namespace bitmar {

class Compressor {
 public:
  Compressor(int grid, int pool, const CompressorWeights& weights, Workspace& workspace, Arena& arena);
  static void plan(int grid, int pool, const CompressorWeights& weights, Needs& needs);

  int tokens() const { return side_ * side_; }  // m
  // features [P, feature_size] -> vision tokens [m, d]
  void run(const float* features, float* tokens);

 private:
  const CompressorWeights& weights_;
  Workspace& workspace_;
  int grid_, pool_, side_;
  std::span<float> pooled_;  // [m, feature_size]
  std::span<float> hidden_;  // [m, hidden]
};

}  // namespace bitmar
