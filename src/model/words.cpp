#include "model/words.h"

#include <algorithm>
#include <cmath>

#include "kernels/exponential.h"

namespace bitmar {

void Words::plan(const WordsWeights& weights, Needs& needs) { needs.product(weights.proj, 1); }

Words::Words(int vocabulary, const WordsWeights& weights, Workspace& workspace, Arena& arena)
    : weights_(weights),
      workspace_(workspace),
      summary_(arena.take<float>(Purpose::activations, weights.proj.in)),
      value_(arena.take<float>(Purpose::activations, vocabulary)),
      square_(arena.take<float>(Purpose::activations, vocabulary)) {}

void Words::summarise(const float* vision, int m, float* state) {
  const int d = weights_.proj.out;
  float *mean = summary_.data(), *most = mean + d;
  std::copy_n(vision, d, mean);
  std::copy_n(vision, d, most);
  for (int i = 1; i < m; ++i) {
    workspace_.kernels.add(vision + i * d, d, mean);
    for (int j = 0; j < d; ++j) most[j] = std::max(most[j], vision[i * d + j]);
  }
  for (int j = 0; j < d; ++j) mean[j] /= static_cast<float>(m);
  rms_norm(workspace_, summary_.data(), weights_.norm, 1, summary_.data());
  linear(workspace_, weights_.proj, summary_.data(), 1, state);
  workspace_.observe("words.state", state, 1, d);
}

void Words::expect(const float* scores) {
  const int vocabulary = static_cast<int>(value_.size());
  for (int v = 0; v < vocabulary; ++v) {
    const float p = 1 / (1 + exponential(-(scores[v] + weights_.bias[v])));
    value_[v] = weights_.rarity[v] * p;
    square_[v] = weights_.rarity[v] * weights_.rarity[v];
  }
  const float length = std::max(std::sqrt(workspace_.kernels.dot(value_.data(), value_.data(), vocabulary)), 1e-6f);
  for (int v = 0; v < vocabulary; ++v) value_[v] *= weights_.rarity[v] / length;
  workspace_.observe("words", value_.data(), 1, vocabulary);
}

}  // namespace bitmar
