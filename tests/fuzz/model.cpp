// A whole model, and a caption by it: the tiny one, or one of random shapes, with some bytes of its weights changed. What
// loads must speak, on every table of kernels alike, and never of numbers that are not finite.
#include <cmath>
#include <cstring>

#include "../unit/random_model.h"
#include "fuzz.h"

void bitmar::fuzz(Input input) {
  const std::uint8_t seed = take(input);
  RandomModel model(seed % 16u, seed % 16u == 5);
  ModelDirectory files = model.files();
  const RandomModel::Picture picture = model.picture();
  const std::vector<float> grid = seed % 16u == 5 ? model.grid() : std::vector<float>();
  // Changes: where (three bytes), how many bytes, and these.
  while (input.size() > 4) {
    std::size_t at = take(input);
    at = at << 8 | take(input);
    at = (at << 8 | take(input)) % files.safetensors.size();
    for (std::size_t n = std::min<std::size_t>(1 + take(input) % 8, input.size()); n > 0; --n, ++at) {
      files.safetensors[at % files.safetensors.size()] = take(input);
    }
  }
  const auto say = [&](const Kernels& kernels) {
    const auto engine = Engine::load(files_of(files), {.int8_kv_cache = (seed & 128) != 0}, kernels);
    const CaptionOptions options{.max_tokens = 3, .num_beams = 1 + seed / 16 % 3};
    return grid.empty() ? engine->caption(picture.view(), options) : engine->caption_features(grid, options);
  };
  CaptionResult wanted;
  try {
    wanted = say(scalar_kernels());
  } catch (const Error& error) {
    // Refused at load, and never because of what was computed.
    require(std::strstr(error.what(), "is not finite") == nullptr || std::strstr(error.what(), "holds") != nullptr);
    throw;
  }
  require(std::isfinite(wanted.log_probability));
  const CaptionResult other = say(*available_kernels().front());
  require(other.tokens == wanted.tokens && other.log_probability == wanted.log_probability);
}
