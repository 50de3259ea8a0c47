#include "runtime/sampler.h"

#include <algorithm>
#include <numeric>

#include "runtime/elementary.h"

namespace bitmar {

int argmax(std::span<const float> values) {
  return static_cast<int>(std::max_element(values.begin(), values.end()) - values.begin());
}

LogSoftmax::LogSoftmax(const Kernels& kernels, std::span<const float> logits, std::span<float> scratch) {
  const int best = argmax(logits);
  max_ = logits[best];
  std::copy(logits.begin(), logits.end(), scratch.begin());
  kernels.softmax(scratch.data(), static_cast<int>(logits.size()));
  log_sum_ = -natural_log(scratch[best]);  // softmax of the largest is exp(0) / sum
}

Sampler::Sampler(int vocabulary, Arena& arena)
    : probabilities_(arena.take<float>(Purpose::scratch, vocabulary)),
      order_(arena.take<int>(Purpose::scratch, vocabulary)) {}

void Sampler::start(const Sampling& how, std::uint64_t seed) {
  how_ = how;
  random_ = Random(seed);
}

Sampler::Choice Sampler::choose(const Kernels& kernels, std::span<const float> logits) {
  const LogSoftmax log_softmax(kernels, logits, probabilities_);
  const int token = how_.temperature > 0 ? draw(kernels, logits) : argmax(logits);
  return {token, log_softmax.of(logits[token])};
}

int Sampler::draw(const Kernels& kernels, std::span<const float> logits) {
  const auto& p = probabilities_;
  const float largest = logits[argmax(logits)];
  // Subtracting first keeps a very low temperature from overflowing.
  for (std::size_t i = 0; i < logits.size(); ++i) p[i] = (logits[i] - largest) / how_.temperature;
  kernels.softmax(p.data(), static_cast<int>(p.size()));

  // The most probable first, by a heap: few of many tokens are ever taken. Ties go to the lower token,
  // so the order is the same in every standard library.
  std::iota(order_.begin(), order_.end(), 0);
  const auto less = [&](int a, int b) { return p[a] < p[b] || (p[a] == p[b] && a > b); };
  std::make_heap(order_.begin(), order_.end(), less);
  auto rest = order_.end();
  double mass = 0;
  while (rest != order_.begin() && mass < how_.top_p) {
    std::pop_heap(order_.begin(), rest, less);
    mass += p[*--rest];
  }
  double target = random_.uniform() * mass;
  auto at = order_.end();
  do {
    target -= p[*--at];
  } while (target >= 0 && at != rest);
  return *at;
}

}  // namespace bitmar
