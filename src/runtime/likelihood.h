// A Score from the log-probabilities of a text's tokens.
#pragma once

#include <cstddef>
#include <numeric>
#include <utility>
#include <vector>

#include "bitmar/options.h"

namespace bitmar {

// `bytes`: of the text, in UTF-8.
inline Score score_of(std::vector<int> tokens, std::vector<double> log_probabilities, std::size_t bytes) {
  const double sum = std::accumulate(log_probabilities.begin(), log_probabilities.end(), 0.0);
  const double count = static_cast<double>(tokens.size());
  return {.tokens = std::move(tokens),
          .log_probabilities = std::move(log_probabilities),
          .log_probability = sum,
          .per_token = sum / count,
          .per_byte = sum / static_cast<double>(bytes)};
}

}  // namespace bitmar
