// Engine::explain(): the forward pass once more over a text that is given, with an observer that keeps what it attends
// to. Captions themselves know nothing of it.
#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "io/error.h"
#include "io/heap_sort.h"
#include "model/engine.h"
#include "model/observer.h"
#include "runtime/elementary.h"

namespace bitmar {

namespace {

// What the decoder attended to in one step, and what was expected of the picture.
class Onlooker final : public Observer {
 public:
  explicit Onlooker(BitMar& model) : model_(model) { model_.set_observer(this); }
  ~Onlooker() override { model_.set_observer(nullptr); }
  Onlooker(const Onlooker&) = delete;

  void accumulators(std::string_view, const std::int32_t*, int, int) override {}
  void values(std::string_view stage, const float* values, int rows, int columns) override {
    if (stage == "bag_of_words.probabilities") probabilities.assign(values, values + columns);
    if (stage == "conditioning") conditioning = rows;
    if (!stage.starts_with("decoder.") || !stage.ends_with(".attention")) return;
    attention_.resize(columns);
    for (int i = 0; i < columns; ++i) attention_[i] += values[i];
    ++heads_;
  }
  // [keys], the mean over layers and heads: the conditioning first. The next step begins anew.
  std::vector<float> take_attention() {
    for (float& share : attention_) share /= static_cast<float>(heads_);
    heads_ = 0;
    return std::exchange(attention_, {});
  }

  std::vector<float> probabilities;  // [V], empty in models without a bag-of-words head
  int conditioning = 0;              // rows of it

 private:
  BitMar& model_;
  std::vector<float> attention_;
  int heads_ = 0;
};

std::string without_spaces(std::string text) {
  std::erase(text, ' ');
  return text;
}

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
  const std::vector<int> tokens = prompt_tokens(config().bos_token_id, text);

  const Picture picture = encode_other(image);
  Onlooker onlooker(model_);
  const std::optional<Guide> guide = model_.expect_words(picture);
  const Context context = model_.fuse(&picture, prompt);
  const auto retrieved = options.read_memory ? model_.retrieve(context) : std::nullopt;
  Explanation explanation;
  if (retrieved) explanation.memory = episodes_read();
  model_.prefill(context, &picture, retrieved);

  const int patches = static_cast<int>(picture.tokens.size()) / config().hidden_size;
  explanation.side = config().vision.grid_size / config().compressor.pool_size;
  const int memory = retrieved ? 1 : 0;
  std::vector<float> scratch(config().vocab_size);
  std::vector<int> of_word;
  double likely = 0;
  const auto end_word = [&] {
    if (of_word.empty()) return;
    ExplainedWord& word = explanation.words.back();
    word.text = without_spaces(tokenizer_.decode(of_word));
    word.probability = natural_exp(likely);
    divide(word, static_cast<int>(of_word.size()));
    of_word.clear();
    likely = 0;
  };
  for (std::size_t i = 1; i < tokens.size(); ++i) {
    const std::span<const float> logits = model_.decode(tokens[i - 1]);
    if (of_word.empty() || tokenizer_.bytes(tokens[i]).starts_with(' ')) {
      end_word();
      explanation.words.emplace_back();
    }
    look(explanation.words.back(), onlooker.take_attention(), memory, onlooker.conditioning - memory - patches,
         patches);
    likely += LogSoftmax(model_.kernels(), logits, scratch).of(logits[tokens[i]]);
    BitMar::check_finite(likely);
    of_word.push_back(tokens[i]);
  }
  end_word();
  if (guide) explanation.expected = words_expected(*guide, onlooker.probabilities, options.expected);
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
std::vector<ExpectedWord> Engine::words_expected(const Guide& guide, std::span<const float> probabilities,
                                                 int most) const {
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
  for (const int token : tokens)
    words.push_back({without_spaces(tokenizer_.decode({&token, 1})), probabilities[token]});
  return words;
}

}  // namespace bitmar
