#include "compat/text_model.h"

#include <algorithm>

#include "io/error.h"
#include "io/model_files.h"
#include "runtime/likelihood.h"

namespace bitmar::compat {

namespace {

// Many times what the published model has, and still harmless to read.
constexpr std::size_t kMaxJson = 8 << 20, kMaxWeights = 512 << 20;

std::vector<std::uint8_t> read(const std::filesystem::path& path, std::size_t limit) {
  try {
    return read_file(path, limit);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::invalid_argument) throw Error(ErrorCode::invalid_model, error.what());
    throw;
  }
}

std::string_view text_of(const std::vector<std::uint8_t>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::span<const double> row(const Matrix& m, int i) { return {m.row(i), static_cast<std::size_t>(m.columns)}; }

}  // namespace

struct TextModel::Files {
  explicit Files(const std::filesystem::path& folder)
      : config(read(folder / "config.json", kMaxJson)),
        tokenizer(read(folder / "tokenizer.json", kMaxJson)),
        weights(read(folder / "model.safetensors", kMaxWeights)) {}

  std::vector<std::uint8_t> config, tokenizer, weights;
};

TextModel::TextModel(const std::filesystem::path& folder, const Kernels& kernels) : TextModel(Files(folder), kernels) {}

TextModel::TextModel(const Files& files, const Kernels& kernels)
    : model_(parse_config(text_of(files.config)), SafeTensors::parse(files.weights), kernels),
      tokenizer_(Tokenizer::parse(text_of(files.tokenizer))) {
  if (tokenizer_.size() != model_.config().vocab_size)
    throw Error(ErrorCode::invalid_model, "tokenizer.json has " + std::to_string(tokenizer_.size()) +
                                              " tokens, the config says " + std::to_string(model_.config().vocab_size));
}

std::vector<int> TextModel::begin(std::string_view text) const {
  std::vector<int> tokens = tokenizer_.encode(text);
  if (tokens.empty()) tokens.push_back(model_.config().end_token_id);
  return tokens;
}

TextModel::Completion TextModel::complete(std::string_view prompt, Vision vision, int max_tokens) const {
  if (max_tokens < 1) throw Error(ErrorCode::invalid_argument, "the number of tokens must be at least 1");
  const Config& config = model_.config();
  std::vector<int> tokens = begin(prompt);
  Completion completion;
  while (static_cast<int>(completion.tokens.size()) < max_tokens) {
    const Matrix logits = model_.run(tokens, vision, static_cast<int>(tokens.size()) - 1).logits;
    const auto best = std::ranges::max_element(logits.values);
    const int token = static_cast<int>(best - logits.values.begin());
    if (token == config.end_token_id) break;
    completion.tokens.push_back(token);
    completion.log_probability += *best - log_sum_exp(logits.values);
    if (static_cast<int>(tokens.size()) == config.max_positions) break;
    tokens.push_back(token);
  }
  completion.text = tokenizer_.decode(completion.tokens);
  return completion;
}

std::vector<Score> TextModel::score(std::string_view prefix, std::span<const std::string> continuations,
                                    Vision vision) const {
  if (continuations.empty()) throw Error(ErrorCode::invalid_argument, "there is no continuation to score");
  const std::vector<int> read = begin(prefix);
  std::vector<Score> scores;
  for (const std::string& continuation : continuations) {
    if (continuation.empty()) throw Error(ErrorCode::invalid_argument, "a continuation is empty");
    std::vector<int> tokens = tokenizer_.encode(continuation);
    std::vector<int> whole = read;
    whole.insert(whole.end(), tokens.begin(), tokens.end());
    const Matrix logits = model_.run(whole, vision, static_cast<int>(read.size()) - 1).logits;
    std::vector<double> likely;
    for (int i = 0; i < static_cast<int>(tokens.size()); ++i) {
      likely.push_back(logits.row(i)[tokens[i]] - log_sum_exp(row(logits, i)));
    }
    scores.push_back(score_of(std::move(tokens), std::move(likely), continuation.size()));
  }
  return scores;
}

}  // namespace bitmar::compat
