// config.json, and preprocessor_config.json behind a zero byte.
#include "io/config.h"

#include <algorithm>

#include "fuzz.h"

void bitmar::fuzz(Input input) {
  const std::string_view text = text_of(input);
  const std::size_t end = std::min(text.find('\0'), text.size());
  const Config config = parse_config(text.substr(0, end));
  require(config.hidden_size >= 4 && config.vocab_size >= 4);
  require(config.vision.grid_size % config.compressor.pool_size == 0);
  check_preprocessor(text.substr(std::min(end + 1, text.size())), config);
}
