// Texts in, texts and scores out: a converted checkpoint with its tokenizer.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bitmar/options.h"
#include "compat/model.h"
#include "io/tokenizer.h"

namespace bitmar::compat {

class TextModel {
 public:
  // Of a folder that models/bitmar/compat/convert.py wrote. Throws missing_file, invalid_config, invalid_model,
  // unsupported_tensor_type.
  explicit TextModel(const std::filesystem::path& folder, const Kernels& kernels = bitmar::kernels());

  const Model& model() const { return model_; }
  const Tokenizer& tokenizer() const { return tokenizer_; }

  struct Completion {
    std::vector<int> tokens;  // without the end token
    std::string text;
    double log_probability = 0;  // of the tokens together
  };
  // What follows the prompt (of an empty one, the end token): the likeliest token after another, at most `max_tokens`,
  // up to the end token or the last position. Throws text_too_long, invalid_text, invalid_argument.
  Completion complete(std::string_view prompt, Vision vision, int max_tokens) const;

  // Each continuation after the prefix, all of a text in one pass, as the authors' evaluations score texts. This is no
  // likelihood of a causal model: the text encoder has read the very tokens that are to be predicted. Throws
  // text_too_long, invalid_text, invalid_argument: no continuation, or an empty one.
  std::vector<Score> score(std::string_view prefix, std::span<const std::string> continuations, Vision vision) const;

 private:
  struct Files;
  TextModel(const Files& files, const Kernels& kernels);
  std::vector<int> begin(std::string_view text) const;

  Model model_;
  Tokenizer tokenizer_;
};

}  // namespace bitmar::compat
