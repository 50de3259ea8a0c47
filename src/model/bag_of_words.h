// The bag-of-words head: predicts which tokens a picture's captions contain, in any order (like the attributes of
// arXiv 1603.03925). Beam search and the confidence compare captions with this prediction.
#pragma once

#include <span>

#include "model/layers.h"
#include "model/weights.h"
#include "runtime/guide.h"

namespace bitmar {

class BagOfWords {
 public:
  BagOfWords(const Config& config, int tokens, const BagOfWordsWeights& weights, Workspace& workspace, Arena& arena);
  static void plan(const BagOfWordsWeights& weights, Needs& needs);

  // feature grid [P, features], vision tokens [m, d] -> state [d], which the table of tokens scores
  void summarise(const float* grid, const float* vision, float* state);
  // The scores [V] of that -> p, the probability that a caption of the picture contains each token. Captions are
  // compared with rarity * p as a unit vector, where rarity is a token's inverse document frequency, as in CIDEr
  // (arXiv 1411.5726). For pictures unlike any photo a model may predict padding, which no caption contains: then no
  // caption agrees well.
  void expect(const float* scores);
  // Valid until the next expect().
  Guide guide() const { return {value_, square_}; }
  std::span<const float> probabilities() const { return probabilities_; }  // [V], p

 private:
  void summarise_rows(const float* rows, int count, int n, float* out) const;

  const BagOfWordsWeights& weights_;
  Workspace& workspace_;
  const int patches_, features_, tokens_, nothing_;
  std::span<float> summary_;  // [2 features + 2 d]: mean and maximum of the grid, then of the tokens
  std::span<float> probabilities_, value_, square_;  // [V]
};

}  // namespace bitmar
