// A whole model, and a caption by it: the tiny one, or one of random shapes, with some bytes of its weights changed. What
// loads must speak, on every table of kernels alike, and never of numbers that are not finite.
#include <cmath>
#include <cstring>
#include <iterator>
#include <optional>
#include <vector>

#include "../unit/random_model.h"
#include "fuzz.h"

namespace {

// A model and what it looks at: a picture, or a feature grid.
struct Subject {
  explicit Subject(std::uint64_t seed) : Subject(bitmar::RandomModel(seed, seed == 5), seed == 5) {}
  Subject(bitmar::RandomModel model, bool features)
      : files(model.files()), picture(model.picture()), grid(features ? model.grid() : std::vector<float>()) {}
  bitmar::ModelDirectory files;
  bitmar::RandomModel::Picture picture;
  std::vector<float> grid;
};

const Subject& subject(std::size_t seed) {
  static std::optional<Subject> subjects[16];
  auto& made = subjects[seed % std::size(subjects)];
  if (!made) made.emplace(seed % std::size(subjects));
  return *made;
}

}  // namespace

void bitmar::fuzz(Input input) {
  const std::uint8_t seed = take(input);
  const auto& [original, picture, grid] = subject(seed);
  ModelDirectory files = original;
  // Changes: where (three bytes), how many bytes, and these.
  while (input.size() > 4) {
    std::size_t at = take(input);
    at = at << 8 | take(input);
    at = (at << 8 | take(input)) % files.safetensors.size();
    for (std::size_t n = std::min<std::size_t>(1 + take(input) % 8, input.size()); n > 0; --n, ++at) {
      files.safetensors[at % files.safetensors.size()] = take(input);
    }
  }
  const auto say = [&, &seen = picture, &numbers = grid](const Kernels& kernels) {
    const auto engine = Engine::load(files_of(files), {.int8_kv_cache = (seed & 128) != 0}, kernels);
    const CaptionOptions options{.max_tokens = 3, .num_beams = 1 + seed / 16 % 3};
    return numbers.empty() ? engine->caption(seen.view(), options) : engine->caption_features(numbers, options);
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
