#include "runtime/beam_search.h"

#include <algorithm>
#include <utility>

#include "runtime/elementary.h"
#include "runtime/sampler.h"

namespace bitmar {

BeamSearch::BeamSearch(int vocabulary, int rows, Arena& arena) : vocabulary_(vocabulary) {
  for (auto* list : {&tokens_[0], &tokens_[1], &rows_[0], &rows_[1]}) *list = arena.take<int>(Purpose::scratch, rows);
  finished_tokens_ = arena.take<int>(Purpose::scratch, 2 * rows);  // one hypothesis more than beams
  scratch_ = arena.take<float>(Purpose::scratch, vocabulary);
}

void BeamSearch::start(const Settings& settings) {
  settings_ = settings;
  live_ = 1;
  length_ = side_ = finished_count_ = 0;
  last_token_[0] = settings.begin_token;
  total_[0] = 0;
  guided_[0][0] = {};
  rows_of(0, 0)[0] = 0;
  for (int i = 0; i <= kMaxBeams; ++i) finished_[i] = {.slot = i};
}

std::span<const int> BeamSearch::rows(int hypothesis) const {
  return {rows_of(side_, hypothesis), static_cast<std::size_t>(length_ + 1)};
}

bool BeamSearch::better(const Candidate& a, const Candidate& b) {
  if (a.worth != b.worth) return a.worth > b.worth;
  return a.parent != b.parent ? a.parent < b.parent : a.token < b.token;
}

// Of a hypothesis with one more token; the end is not one.
Guide::Sums BeamSearch::guided(int parent, int token) const {
  const Guide::Sums& sums = guided_[side_][parent];
  if (token == settings_.end_token) return sums;
  return settings_.guide.with(sums, {tokens_of(side_, parent), static_cast<std::size_t>(length_)}, token);
}

double BeamSearch::score(int hypothesis, double log_probability, int length) const {
  const double likely = log_probability / natural_exp(settings_.length_penalty * natural_log(length));
  return likely + settings_.rerank_weight * guided_[side_][hypothesis].cosine();
}

// The best 2 * beams continuations of all hypotheses, best first.
void BeamSearch::gather(const Kernels& kernels, std::span<const float> logits) {
  const int wanted = 2 * settings_.beams;
  best_count_ = 0;
  for (int parent = 0; parent < live_; ++parent) {
    const auto row = logits.subspan(parent * vocabulary_, vocabulary_);
    const LogSoftmax log_softmax(kernels, row, scratch_);
    for (int token = 0; token < vocabulary_; ++token) {
      const double log_probability = total_[parent] + log_softmax.of(row[token]);
      Candidate c{log_probability, log_probability, parent, token};
      if (settings_.guidance > 0) {
        // No cosine is above 1, and few tokens are likely enough to ask for theirs.
        c.worth += settings_.guidance;
        if (best_count_ == wanted && !better(c, best_[wanted - 1])) continue;
        c.worth = log_probability + settings_.guidance * guided(parent, token).cosine();
      }
      if (best_count_ == wanted && !better(c, best_[wanted - 1])) continue;
      if (best_count_ < wanted) ++best_count_;
      int at = best_count_ - 1;
      for (; at > 0 && better(c, best_[at - 1]); --at) best_[at] = best_[at - 1];
      best_[at] = c;
    }
  }
}

// Keeps the best `beams`; `counted` includes the end token where there is one.
void BeamSearch::finish(int parent, double log_probability, int length, int counted) {
  Finished f = finished_[finished_count_];
  f.score = score(parent, log_probability, counted);
  f.log_probability = log_probability;
  f.length = length;
  std::copy_n(tokens_of(side_, parent), length, finished_tokens_.data() + f.slot * settings_.max_tokens);
  int at = finished_count_;
  for (; at > 0 && f.score > finished_[at - 1].score; --at) finished_[at] = finished_[at - 1];
  finished_[at] = f;
  if (finished_count_ < settings_.beams) ++finished_count_;
}

bool BeamSearch::step(const Kernels& kernels, std::span<const float> logits) {
  gather(kernels, logits);
  const int next = 1 - side_;
  int survivors = 0;
  for (int rank = 0; rank < best_count_; ++rank) {
    const Candidate& c = best_[rank];
    if (c.token == settings_.end_token) {
      if (rank < settings_.beams) finish(c.parent, c.log_probability, length_, length_ + 1);
    } else if (survivors < settings_.beams) {
      std::copy_n(tokens_of(side_, c.parent), length_, tokens_of(next, survivors));
      std::copy_n(rows_of(side_, c.parent), length_ + 1, rows_of(next, survivors));
      tokens_of(next, survivors)[length_] = c.token;
      last_token_[survivors] = c.token;
      guided_[next][survivors] = guided(c.parent, c.token);
      total_[survivors++] = c.log_probability;
    }
  }
  side_ = next;
  live_ = survivors;
  ++length_;
  if (length_ < settings_.max_tokens && live_ > 0) {
    double hope = score(0, total_[0], length_);
    for (int i = 1; i < live_; ++i) hope = std::max(hope, score(i, total_[i], length_));
    if (finished_count_ < settings_.beams || hope > finished_[settings_.beams - 1].score) {
      for (int i = 0; i < live_; ++i) rows_of(side_, i)[length_] = length_ * settings_.beams + i;
      return true;
    }
    return false;
  }
  for (int i = 0; i < live_; ++i) finish(i, total_[i], length_, length_);
  return false;
}

}  // namespace bitmar
