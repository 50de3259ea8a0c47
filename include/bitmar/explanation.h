// How a caption comes about: what each word looks at, what is expected of the picture, what the memory gives.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace bitmar {

inline constexpr int kMostExpected = 1000;

struct ExplainOptions {
  std::string prompt = {};            // as the caption's own
  bool read_memory = false;           // as the caption's own
  std::uint64_t without_episode = 0;  // not read: the caption's own, which was not there yet; 0: none
  int expected = 12;                  // words expected of the picture to tell of, 0 to kMostExpected
};

// A word and the signs behind it, and what the decoder looked at as it chose them: its attention, the mean over its
// layers, their heads and the word's tokens. `patches`, `prompt`, `memory` and `before` sum to 1.
struct ExplainedWord {
  std::string text;            // UTF-8, without the spaces around it
  double probability = 0;      // of its tokens, each after all before it
  std::vector<float> patches;  // [side, side], the picture's rows from its top
  float prompt = 0;            // the fused prompt, of which a beginning is always there
  float memory = 0;            // what was retrieved
  float before = 0;            // the words so far, and the caption's beginning
};

// A token that begins a word and is expected in the captions of a picture, by the bag-of-words head. Of a rare word it
// may be the beginning alone.
struct ExpectedWord {
  std::string text;        // UTF-8, without spaces
  double probability = 0;  // that a caption of the picture contains it
};

// An episode that took part in what was retrieved.
struct EpisodeRead {
  std::uint64_t id = 0;
  float share = 0;  // the shares sum to 1
};

struct Explanation {
  int side = 0;                        // patches a side
  std::vector<ExplainedWord> words;    // of the text, in its order
  std::vector<ExpectedWord> expected;  // what counts most in the search first: likely and rare
  std::vector<EpisodeRead> memory;     // the largest share first
};

}  // namespace bitmar
