// Beam search over token sequences. It knows nothing of the model: logits in, rows of the KV cache out.
#pragma once

#include <array>
#include <span>

#include "kernels/kernels.h"
#include "runtime/arena.h"
#include "runtime/guide.h"

namespace bitmar {

inline constexpr int kMaxBeams = 8;

// A finished hypothesis scores (sum of log-probabilities) / length^length_penalty + rerank_weight * cosine with the
// guide; the end token counts in the sum and in the length. Continuations are ranked by sum of log-probabilities +
// guidance * cosine. Of the 2 * beams best, those that end within the best `beams` are finished, and the best `beams`
// of the others stay alive. The search stops when `beams` are finished and no live one scores above the worst of them.
//
// No key or value is ever copied: each token has its own cache row, and a hypothesis is a list of rows.
class BeamSearch {
 public:
  // beams * max_tokens of every search must stay within `rows`.
  BeamSearch(int vocabulary, int rows, Arena& arena);

  struct Settings {
    int beams = 1, max_tokens = 1;
    double length_penalty = 1;
    int begin_token = 0, end_token = 0;
    Guide guide = {};
    double guidance = 0, rerank_weight = 0;  // from 0 on
  };
  void start(const Settings& settings);

  // What the decoder must run next: one token for each live hypothesis, its cache row, and the rows it sees.
  int live() const { return live_; }
  int token(int hypothesis) const { return last_token_[hypothesis]; }
  int row(int hypothesis) const { return rows(hypothesis).back(); }
  std::span<const int> rows(int hypothesis) const;

  // logits [live, vocabulary] -> false when the search is over.
  bool step(const Kernels& kernels, std::span<const float> logits);

  // What it found, the best score first.
  int found() const { return finished_count_; }
  std::span<const int> tokens(int rank = 0) const {
    return {finished_tokens(rank), static_cast<std::size_t>(finished_[rank].length)};
  }
  double log_probability(int rank = 0) const { return finished_[rank].log_probability; }
  double score(int rank = 0) const { return finished_[rank].score; }

 private:
  struct Candidate {
    double worth;  // what it lives on by
    double log_probability;
    int parent, token;
  };
  struct Finished {
    double score = 0, log_probability = 0;
    int length = 0, slot = 0;
  };
  static bool better(const Candidate& a, const Candidate& b);
  Guide::Sums guided(int parent, int token) const;
  double score(int hypothesis, double log_probability, int length) const;
  void gather(const Kernels& kernels, std::span<const float> logits);
  void finish(int parent, double log_probability, int length, int counted);
  int* tokens_of(int side, int hypothesis) const { return tokens_[side].data() + hypothesis * settings_.max_tokens; }
  int* rows_of(int side, int hypothesis) const { return rows_[side].data() + hypothesis * settings_.max_tokens; }
  const int* finished_tokens(int rank) const {
    return finished_tokens_.data() + finished_[rank].slot * settings_.max_tokens;
  }

  Settings settings_;
  int vocabulary_;
  int live_ = 0, length_ = 0, side_ = 0, finished_count_ = 0;
  std::array<int, kMaxBeams> last_token_{};
  std::array<double, kMaxBeams> total_{};
  std::array<std::array<Guide::Sums, kMaxBeams>, 2> guided_{};  // of each hypothesis' tokens, now and next
  std::array<Finished, kMaxBeams + 1> finished_{};
  std::array<Candidate, 2 * kMaxBeams> best_{};
  int best_count_ = 0;
  std::array<std::span<int>, 2> tokens_, rows_;  // [beams, max_tokens], now and next
  std::span<int> finished_tokens_;               // [beams + 1, max_tokens]
  std::span<float> scratch_;                     // [V]
};

}  // namespace bitmar
