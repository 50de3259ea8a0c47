// What captions and answers can be asked for, and what comes back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bitmar {

// Limits. What is above them throws invalid_argument, a text text_too_long.
inline constexpr int kMostThreads = 64;
inline constexpr int kMostTokens = 1 << 20;  // of a caption: room for them is reserved in advance
inline constexpr int kMostBeams = 8;
inline constexpr int kMostTemperature = 1000, kMostLengthPenalty = 10;
inline constexpr std::size_t kMostText = 1 << 16;  // bytes of a prompt, question or query: looked at before it is
                                                   // tokenized; then the model's own limit on tokens counts
inline constexpr std::size_t kMostRead = 1 << 20;  // bytes of what the decoder reads: a prefix, a text to score

struct LoadOptions {
  bool int8_kv_cache = false;  // a quarter of its memory, at a small error (docs/performance.md)
  int threads = 1;             // that share the work on an image, up to kMostThreads; the results are the same
};

struct CaptionOptions {
  // Each is checked: invalid_argument outside its range.
  std::string prompt = {};  // what the caption should be about; empty: the whole picture
  int max_tokens = 24;      // 1 to kMostTokens; of beam search at most the decoder's window by num_beams
  // More than one: beam search, which streams nothing before its end. In models with a bag-of-words head it finds what
  // is likely and agrees with the predicted words, otherwise what is likeliest.
  int num_beams = 1;                          // 1 to kMostBeams
  std::optional<double> length_penalty = {};  // of beam search, -10 to 10; absent: the model's own, or 1
  float temperature = 0;                      // 0: greedy; to 1000
  float top_p = 1;                            // above 0, to 1
  std::uint64_t seed = 0;                     // of sampling: the same seed gives the same caption
  bool read_memory = false;                   // let the memory speak into this caption
  // Where the text begins: the decoder reads it as it stands and continues it. Not with beam search, and the result has
  // no confidence. At most kMostRead bytes.
  std::string prefix = {};
};

// A caption that beam search found and did not choose.
struct Alternative {
  std::string text;            // UTF-8
  double log_probability = 0;  // as CaptionResult's
};

struct CaptionResult {
  std::string text;            // UTF-8
  std::vector<int> tokens;     // without begin and end
  double log_probability = 0;  // of the tokens, and of the end if it was reached, under the model
  // From 0 to 1, that this is about the picture, as calibrated on validation photos; absent in models that were not,
  // without a picture, after a prefix, and before the caption's end.
  std::optional<double> confidence = {};
  std::vector<Alternative> alternatives;  // of several beams, the best first; all say something else
  bool aborted = false;                   // the callback stopped it
  double vision_ms = 0;                   // pixels to vision tokens
  double text_ms = 0;                     // prompt, fusion, memory, decoding
};

struct AskOptions {
  int num_beams = 1;                   // more than one: the likeliest answer that beam search finds
  std::optional<int> max_tokens = {};  // absent: the model's own
};

struct Answer {
  std::string text;            // empty where the model declines
  std::vector<int> tokens;     // without begin and end
  double log_probability = 0;  // of the tokens, and of the end if it was reached, under the model
  double confidence = 0;       // exp(log_probability): the probability of the whole answer
  bool declined = false;       // the model says nothing: it is trained to do so where a question asks who somebody is,
                               // how old, of what origin or in what mood
  double vision_ms = 0;        // pixels to vision tokens
  double text_ms = 0;          // question, fusion, decoding
};

struct ScoreOptions {
  bool end = false;  // whether the text ends there counts as well, as in a caption's log_probability
};

// How likely a continuation is: the decoder's own probabilities of its tokens, each after all before it.
struct Score {
  std::vector<int> tokens;                // with the end, if that counts
  std::vector<double> log_probabilities;  // of each token, natural logarithms
  double log_probability = 0;             // their sum
  // Normalised, to compare continuations of unlike lengths: by the number of tokens, and of bytes of the continuation's
  // UTF-8 as it was given.
  double per_token = 0, per_byte = 0;
};

// Called after every token, and after every few tokens of a prefix, with the text that is complete since the last call:
// never half a character, often nothing, and with beam search nothing before the end. false stops the computation. It
// must not call the model.
using TokenCallback = std::function<bool(std::string_view piece)>;

}  // namespace bitmar
