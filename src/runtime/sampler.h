// From logits to the next token: greedy, temperature and nucleus sampling.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/kernels.h"
#include "runtime/arena.h"
#include "runtime/random.h"

namespace bitmar {

// ln softmax(logits), without writing all of it.
class LogSoftmax {
 public:
  // scratch [V]
  LogSoftmax(const Kernels& kernels, std::span<const float> logits, std::span<float> scratch);
  double of(float logit) const { return static_cast<double>(logit) - max_ - log_sum_; }

 private:
  float max_;
  double log_sum_;
};

// The largest; of equals, the first.
int argmax(std::span<const float> values);

struct Sampling {
  float temperature = 0;  // 0: greedy
  float top_p = 1;        // sample from the fewest tokens whose probabilities reach this sum
};

class Sampler {
 public:
  Sampler(int vocabulary, Arena& arena);

  void start(const Sampling& how, std::uint64_t seed);

  struct Choice {
    int token;
    double log_probability;  // the model's own: before temperature and top_p
  };
  Choice choose(const Kernels& kernels, std::span<const float> logits);

 private:
  int draw(const Kernels& kernels, std::span<const float> logits);

  Sampling how_;
  Random random_{0};
  std::span<float> probabilities_;  // [V]
  std::span<int> order_;            // [V]
};

}  // namespace bitmar
