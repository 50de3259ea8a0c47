// Engine::score(): the decoder's own likelihood of texts that are given.
#include <string>

#include "io/error.h"
#include "model/engine.h"
#include "runtime/sampler.h"

namespace bitmar {

std::vector<Score> Engine::score(const ImageView* image, std::string_view prefix,
                                 std::span<const std::string> continuations) {
  if (continuations.empty()) throw Error(ErrorCode::invalid_argument, "there is no continuation to score");
  const auto tokens_of = [this](std::string_view text) {
    check_text_size(text);
    return tokenizer_.encode(text);
  };
  std::vector<int> read = tokens_of(prefix);
  read.insert(read.begin(), config().bos_token_id);
  std::vector<Score> scores(continuations.size());
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (continuations[i].empty()) throw Error(ErrorCode::invalid_argument, "a continuation is empty");
    scores[i].tokens = tokens_of(continuations[i]);
  }

  const std::optional<Picture> picture = image ? std::make_optional(encode_other(*image)) : std::nullopt;
  if (!image) end_caption();
  const Picture* const seen = picture ? &*picture : nullptr;
  const auto begun = begin_stream(seen, read);
  const std::vector<float> first(begun.begin(), begun.end());
  const KvCache::Mark mark = model_.mark();
  std::vector<float> scratch(config().vocab_size);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    // All continuations share what the decoder keeps of the prefix, unless one was so long that it is gone.
    if (!model_.rewind(mark)) begin_stream(seen, read);
    Score& score = scores[i];
    std::span<const float> logits = first;
    for (std::size_t at = 0; at < score.tokens.size(); ++at) {
      if (at > 0) logits = model_.decode(score.tokens[at - 1]);
      const double likely = LogSoftmax(model_.kernels(), logits, scratch).of(logits[score.tokens[at]]);
      BitMar::check_finite(likely);
      score.log_probabilities.push_back(likely);
      score.log_probability += likely;
    }
    score.per_token = score.log_probability / static_cast<double>(score.tokens.size());
    score.per_byte = score.log_probability / static_cast<double>(continuations[i].size());
  }
  return scores;
}

// A new stream that has read these tokens. -> the logits of the next one
std::span<const float> Engine::begin_stream(const Picture* picture, std::span<const int> tokens) {
  model_.prefill(model_.fuse(picture, bos()), picture, std::nullopt);
  std::span<const float> logits;
  for (const int token : tokens) logits = model_.decode(token);
  return logits;
}

}  // namespace bitmar
