// What is seen to the words of the picture's captions, whatever their order (a bag of words, as the attributes of
// arXiv 1603.03925): what a caption says is held against them.
#pragma once

#include <span>

#include "model/layers.h"
#include "model/weights.h"
#include "runtime/guide.h"

namespace bitmar {

class Words {
 public:
  Words(const Config& config, int tokens, const WordsWeights& weights, Workspace& workspace, Arena& arena);
  static void plan(const WordsWeights& weights, Needs& needs);

  // feature grid [P, features], vision tokens [m, d] -> state [d], which the table of tokens scores
  void summarise(const float* grid, const float* vision, float* state);
  // The scores [V] of that -> p, the chance that a caption of the picture has a token, and from it what a caption is
  // held against: rarity * p, as a unit vector, where rarity is a token's inverse document frequency, as in CIDEr
  // (arXiv 1411.5726). A model may expect padding, which is in no caption, of pictures unlike any photo: then little
  // agrees with anything that is said.
  void expect(const float* scores);
  // Valid until the next expect().
  Guide guide() const { return {value_, square_}; }

 private:
  void summarise_rows(const float* rows, int count, int n, float* out) const;

  const WordsWeights& weights_;
  Workspace& workspace_;
  const int patches_, features_, tokens_, nothing_;
  std::span<float> summary_;         // [2 features + 2 d]: mean and maximum of the grid, then of the tokens
  std::span<float> value_, square_;  // [V]
};

}  // namespace bitmar
