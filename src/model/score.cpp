// Engine::score(): the decoder's own likelihood of texts that are given.
#include <algorithm>
#include <string>
#include <utility>

#include "io/error.h"
#include "model/engine.h"
#include "runtime/likelihood.h"
#include "runtime/sampler.h"

namespace bitmar {

std::vector<Score> Engine::score(const ImageView* image, std::string_view prefix,
                                 std::span<const std::string> continuations, const ScoreOptions& options) {
  if (continuations.empty()) throw Error(ErrorCode::invalid_argument, "there is no continuation to score");
  std::vector<std::vector<int>> texts;
  std::size_t longest = 0;
  for (const std::string& continuation : continuations) {
    if (continuation.empty()) throw Error(ErrorCode::invalid_argument, "a continuation is empty");
    texts.push_back(plain_tokens(continuation, kMostRead));
    if (options.end) texts.back().push_back(config().eos_token_id);
    longest = std::max(longest, texts.back().size());
  }
  std::vector<int> read = plain_tokens(prefix, kMostRead);
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
  std::vector<Score> scores;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    std::vector<int>& tokens = texts[i];
    std::vector<double> likely;
    model_.rewind(mark);
    logits = first;
    for (std::size_t at = 0; at < tokens.size(); ++at) {
      if (at > 0) logits = model_.decode(tokens[at - 1]);
      likely.push_back(LogSoftmax(model_.kernels(), logits, scratch).of(logits[tokens[at]]));
      BitMar::check_finite(likely.back());
    }
    scores.push_back(score_of(std::move(tokens), std::move(likely), continuations[i].size()));
  }
  return scores;
}

}  // namespace bitmar
