#include "model/bag_of_words.h"

#include <algorithm>
#include <cmath>

#include "kernels/exponential.h"

namespace bitmar {

void BagOfWords::plan(const BagOfWordsWeights& weights, Needs& needs) { needs.product(weights.proj, 1); }

BagOfWords::BagOfWords(const Config& c, int tokens, const BagOfWordsWeights& weights, Workspace& workspace,
                       Arena& arena)
    : weights_(weights),
      workspace_(workspace),
      patches_(c.vision.grid_size * c.vision.grid_size),
      features_(c.vision.feature_size),
      tokens_(tokens),
      nothing_(c.pad_token_id),
      summary_(arena.take<float>(Purpose::activations, weights.proj.in)),
      probabilities_(arena.take<float>(Purpose::activations, c.vocab_size)),
      value_(arena.take<float>(Purpose::activations, c.vocab_size)),
      square_(arena.take<float>(Purpose::activations, c.vocab_size)) {}

void BagOfWords::summarise(const float* grid, const float* vision, float* state) {
  const int d = weights_.proj.out;
  summarise_rows(grid, patches_, features_, summary_.data());
  summarise_rows(vision, tokens_, d, summary_.data() + 2 * features_);
  for (std::size_t j = 0; j < summary_.size(); ++j) {
    summary_[j] = (summary_[j] - weights_.center[j]) * weights_.scale[j];
  }
  linear(workspace_, weights_.proj, summary_.data(), 1, state);
  workspace_.observe("bag_of_words.state", state, 1, d);
}

// rows [count, n] -> out [2 n]: their mean and their maximum
void BagOfWords::summarise_rows(const float* rows, int count, int n, float* out) const {
  float *mean = out, *most = out + n;
  std::copy_n(rows, n, mean);
  std::copy_n(rows, n, most);
  for (int i = 1; i < count; ++i) {
    workspace_.kernels.add(rows + i * n, n, mean);
    for (int j = 0; j < n; ++j) most[j] = std::max(most[j], rows[i * n + j]);
  }
  for (int j = 0; j < n; ++j) mean[j] /= static_cast<float>(count);
}

void BagOfWords::expect(const float* scores) {
  const int vocabulary = static_cast<int>(value_.size());
  for (int v = 0; v < vocabulary; ++v) {
    probabilities_[v] = 1 / (1 + exponential(-(scores[v] + weights_.bias[v])));
    value_[v] = weights_.rarity[v] * probabilities_[v];
    square_[v] = weights_.rarity[v] * weights_.rarity[v];
  }
  workspace_.observe("bag_of_words.probabilities", probabilities_.data(), 1, vocabulary);
  const float length = std::max(std::sqrt(workspace_.kernels.dot(value_.data(), value_.data(), vocabulary)), 1e-6f);
  for (int v = 0; v < vocabulary; ++v) value_[v] *= weights_.rarity[v] / length;
  value_[nothing_] = square_[nothing_] = 0;  // it has made the others smaller; to say it is worth nothing
  workspace_.observe("bag_of_words", value_.data(), 1, vocabulary);
}

}  // namespace bitmar
