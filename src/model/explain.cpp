// Engine::explain(): the decoder once more over a text that is given, with an observer that keeps what it attends to.
// Captions themselves know nothing of it.
#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "io/error.h"
#include "io/heap_sort.h"
#include "io/unicode.h"
#include "model/engine.h"
#include "model/observer.h"
#include "runtime/elementary.h"
#include "runtime/sampler.h"

namespace bitmar {

namespace {

// What the decoder attends to.
class Onlooker final : public Observer {
 public:
  explicit Onlooker(BitMar& model) : model_(model) { model_.watch_decoder(this); }
  ~Onlooker() override { model_.watch_decoder(nullptr); }
  Onlooker(const Onlooker&) = delete;

  void accumulators(std::string_view, const std::int32_t*, int, int) override {}
  void values(std::string_view stage, const float* values, int, int columns) override {
    if (!stage.starts_with("decoder.") || !stage.ends_with(".attention")) return;
    attention_.resize(columns);
    for (int i = 0; i < columns; ++i) attention_[i] += values[i];
    ++heads_;
  }
  // [keys] of one step, the mean over layers and heads: the conditioning first. The next step begins anew.
  std::vector<float> take_attention() {
    for (float& share : attention_) share /= static_cast<float>(heads_);
    heads_ = 0;
    return std::exchange(attention_, {});
  }

 private:
  BitMar& model_;
  std::vector<float> attention_;
  int heads_ = 0;
};

// Adds what was attended to for a token to its word's.
void look(ExplainedWord& word, std::span<const float> attention, int memory, int prompt, int patches) {
  const auto take = [&attention](int count) {
    const auto part = attention.first(count);
    attention = attention.subspan(count);
    return part;
  };
  const auto sum = [](std::span<const float> part) { return std::accumulate(part.begin(), part.end(), 0.0f); };
  word.memory += sum(take(memory));
  word.prompt += sum(take(prompt));
  word.patches.resize(patches);
  const auto seen = take(patches);
  for (int i = 0; i < patches; ++i) word.patches[i] += seen[i];
  word.before += sum(attention);
}

void divide(ExplainedWord& word, int tokens) {
  const float n = static_cast<float>(tokens);
  for (float& share : word.patches) share /= n;
  word.memory /= n;
  word.prompt /= n;
  word.before /= n;
}

}  // namespace

Explanation Engine::explain(const ImageView& image, std::string_view text, const ExplainOptions& options) {
  if (options.expected < 0 || options.expected > kMostExpected) {
    throw Error(ErrorCode::invalid_argument, "expected must be from 0 to " + std::to_string(kMostExpected));
  }
  const std::vector<int> prompt = prompt_tokens(config().bos_token_id, options.prompt);
  std::vector<int> tokens = plain_tokens(text);
  const int window = config().decoder.num_sinks + config().decoder.window_size;
  if (static_cast<int>(tokens.size()) >= window) {
    throw Error(ErrorCode::text_too_long, "a text to explain has fewer than " + std::to_string(window) + " tokens");
  }
  tokens.insert(tokens.begin(), config().bos_token_id);

  const Picture picture = encode_other(image);
  const std::optional<Guide> guide = model_.expect_words(picture);
  const Context context = model_.fuse(&picture, prompt);
  const auto retrieved =
      options.read_memory ? model_.retrieve(context, memory().find(options.without_episode)) : std::nullopt;
  Explanation explanation;
  explanation.side = config().vision.grid_size / config().compressor.pool_size;
  if (retrieved) explanation.memory = episodes_read();
  if (guide) explanation.expected = words_expected(*guide, options.expected);
  model_.prefill(context, &picture, retrieved);

  Onlooker onlooker(model_);
  const int patches = explanation.side * explanation.side;
  std::vector<float> scratch(config().vocab_size);
  std::vector<int> of_word;
  double likely = 0;
  const auto end_word = [&] {
    if (of_word.empty()) return;
    ExplainedWord& word = explanation.words.back();
    word.text = single_spaces(tokenizer_.decode(of_word));
    if (word.text.empty()) return explanation.words.pop_back();  // spaces at the end
    word.probability = natural_exp(likely);
    divide(word, static_cast<int>(of_word.size()));
  };
  for (std::size_t i = 1; i < tokens.size(); ++i) {
    const std::span<const float> logits = model_.decode(tokens[i - 1]);
    // Spaces belong to the word behind them.
    const bool spaced = std::string_view(" \n\r\t").find(tokenizer_.bytes(tokens[i]).front()) != std::string_view::npos;
    if (of_word.empty() || (spaced && !single_spaces(tokenizer_.decode(of_word)).empty())) {
      end_word();
      explanation.words.emplace_back();
      of_word.clear();
      likely = 0;
    }
    look(explanation.words.back(), onlooker.take_attention(), retrieved ? 1 : 0, static_cast<int>(prompt.size()),
         patches);
    likely += LogSoftmax(model_.kernels(), logits, scratch).of(logits[tokens[i]]);
    BitMar::check_finite(likely);
    of_word.push_back(tokens[i]);
  }
  end_word();
  return explanation;
}

std::vector<EpisodeRead> Engine::episodes_read() {
  const auto slots = memory().slots_read();
  const auto shares = memory().shares_read();
  std::vector<EpisodeRead> read(slots.size());
  for (std::size_t i = 0; i < read.size(); ++i) read[i] = {memory().slot(slots[i].slot).id, shares[i]};
  heap_sort(read, [](const EpisodeRead& a, const EpisodeRead& b) {
    return a.share > b.share || (a.share == b.share && a.id < b.id);
  });
  return read;
}

// Of the tokens that begin a word, those whose presence agrees most with the picture.
std::vector<ExpectedWord> Engine::words_expected(const Guide& guide, int most) const {
  std::vector<int> tokens;
  for (int token = 0; token < config().vocab_size; ++token) {
    const std::string_view bytes = tokenizer_.bytes(token);
    if (bytes.size() > 1 && bytes[0] == ' ' && guide.value(token) > 0) tokens.push_back(token);
  }
  heap_sort(tokens, [&](int a, int b) {
    const float first = guide.value(a), second = guide.value(b);
    return first > second || (first == second && a < b);
  });
  tokens.resize(std::min(tokens.size(), static_cast<std::size_t>(most)));
  std::vector<ExpectedWord> words;
  words.reserve(tokens.size());
  for (const int token : tokens)
    words.push_back({single_spaces(tokenizer_.decode({&token, 1})), model_.word_probabilities()[token]});
  return words;
}

}  // namespace bitmar
