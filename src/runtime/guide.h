// Scores a set of tokens by its cosine with the tokens that are wanted, to be used beside its likelihood.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>

namespace bitmar {

// Vectors have one coordinate per token. A set of tokens is a vector whose coordinates are their weights; it is
// compared with the unit vector of what is wanted. Nothing here depends on the order of the vocabulary, so every build
// gives the same.
class Guide {
 public:
  // Of a growing list of tokens, each counted once.
  struct Sums {
    double value = 0, square = 0;
    double cosine() const { return square > 0 ? value / std::sqrt(square) : 0; }
  };

  Guide() = default;  // wants nothing
  // value [V]: a token's weight times its coordinate in the unit vector; square [V]: its weight squared.
  Guide(std::span<const float> value, std::span<const float> square) : value_(value), square_(square) {}

  Sums with(Sums sums, std::span<const int> before, int token) const {
    if (value_.empty() || std::ranges::find(before, token) != before.end()) return sums;
    return {sums.value + value_[token], sums.square + square_[token]};
  }

  // What a token brings, before the length of all of them counts.
  float value(int token) const { return value_[token]; }

  double cosine(std::span<const int> tokens) const {
    Sums sums;
    for (std::size_t i = 0; i < tokens.size(); ++i) sums = with(sums, tokens.first(i), tokens[i]);
    return sums.cosine();
  }

 private:
  std::span<const float> value_, square_;
};

}  // namespace bitmar
