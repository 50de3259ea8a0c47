// Engine::score(): the decoder's own likelihood of texts that are given.
#include <algorithm>
#include <string>

#include "io/error.h"
#include "model/engine.h"
#include "runtime/sampler.h"

namespace bitmar {

std::vector<Score> Engine::score(const ImageView* image, std::string_view prefix,
                                 std::span<const std::string> continuations, const ScoreOptions& options) {
  if (continuations.empty()) throw Error(ErrorCode::invalid_argument, "there is no continuation to score");
  std::vector<Score> scores(continuations.size());
  std::size_t longest = 0;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (continuations[i].empty()) throw Error(ErrorCode::invalid_argument, "a continuation is empty");
    scores[i].tokens = plain_tokens(continuations[i]);
    if (options.end) scores[i].tokens.push_back(config().eos_token_id);
    longest = std::max(longest, scores[i].tokens.size());
  }
  std::vector<int> read = plain_tokens(prefix);
  read.insert(read.begin(), config().bos_token_id);

  if (!image) end_caption();
  const std::optional<Picture> picture = image ? std::make_optional(encode_other(*image)) : std::nullopt;
  const Picture* const seen = picture ? &*picture : nullptr;
  model_.prefill(model_.fuse(seen, bos()), seen, std::nullopt);
  std::span<const float> logits;
  for (const int token : read) logits = model_.decode(token);
  // All continuations share what the decoder keeps of the prefix.
  const std::vector<float> first(logits.begin(), logits.end());
  const KvCache::Mark mark = model_.mark(static_cast<int>(longest));
  std::vector<float> scratch(config().vocab_size);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    Score& score = scores[i];
    model_.rewind(mark);
    logits = first;
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

}  // namespace bitmar
