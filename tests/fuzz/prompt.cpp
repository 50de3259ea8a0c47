// Prompts, labels and the options of a caption.
#include <cstring>
#include <memory>

#include "../unit/tiny_model.h"
#include "fuzz.h"

void bitmar::fuzz(Input input) {
  static const std::unique_ptr<Engine> engine = load_tiny();
  const std::uint8_t what = take(input);
  CaptionOptions options{.max_tokens = 1 + what % 3, .num_beams = 1 + take(input) % 9};
  double number = 0;
  if (what & 64 && input.size() >= sizeof number) {
    std::memcpy(&number, input.data(), sizeof number);
    input = input.subspan(sizeof number);
    (what & 128 ? options.top_p : options.temperature) = static_cast<float>(number);
    options.length_penalty = number;
  }
  const std::string text(text_of(input));
  options.prompt = text;
  options.read_memory = what & 4;
  const CaptionResult result = engine->caption_text(options);
  require(result.log_probability <= 0);
  if (what & 8) engine->remember(number, result.text);
  if (what & 16) engine->teach(1, text);
  if (what & 32) engine->embed(nullptr, text);
}
