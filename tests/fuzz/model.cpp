// A whole model, and what it says, answers, embeds and remembers: the tiny one, or one of random shapes, with some
// bytes of its weights and some numbers of its config.json changed. What loads must speak, on every table of kernels
// alike, and never of numbers that are not finite.
#include <cmath>
#include <cstring>
#include <iterator>
#include <numeric>
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

// Another value in place of one of the numbers: a little more or less, or one of those at which something may turn.
void change_number(std::string& config_json, std::size_t which, std::uint8_t how, std::uint8_t value) {
  using nlohmann::json;
  constexpr double kValues[] = {0,  1,   2,     3,    4,    6,    8,     12,    16, 20,  32,
                                64, 0.5, 1e-12, 1e-3, 1000, 4096, 16384, 65536, -1, 1e9, 0.999};
  json flat = json::parse(config_json).flatten();
  std::vector<json*> numbers;
  for (auto& entry : flat) {
    if (entry.is_number()) numbers.push_back(&entry);
  }
  json& number = *numbers[which % numbers.size()];
  if (how & 1) {
    const double v = kValues[value % std::size(kValues)];
    if (v == std::floor(v) && how & 2) {
      number = static_cast<std::int64_t>(v);
    } else {
      number = v;
    }
  } else if (number.is_number_integer()) {
    number = number.get<std::int64_t>() + static_cast<std::int8_t>(value);
  } else {
    number = number.get<double>() * (value / 64.0);
  }
  config_json = flat.unflatten().dump();
}

// The picture's size belongs to the config.
void follow_config(bitmar::ModelDirectory& files) {
  const auto config = nlohmann::json::parse(files.config_json);
  auto preprocessor = nlohmann::json::parse(files.preprocessor_json);
  const auto side = config["vision"].value("image_size", nlohmann::json());
  preprocessor["size"] = {{"height", side}, {"width", side}};
  files.preprocessor_json = preprocessor.dump();
}

// All that a model does with a picture or a grid.
struct Outcome {
  std::vector<int> tokens, answer, later;
  double log_probability = 0;
  std::vector<float> embedding, attention;
  std::vector<double> scores;
  std::vector<std::uint8_t> memory;
  bool operator==(const Outcome&) const = default;
};

Outcome use(bitmar::Engine& engine, const bitmar::RandomModel::Picture& picture, const std::vector<float>& grid,
            int beams) {
  const auto caption = [&](const bitmar::CaptionOptions& options) {
    return grid.empty() ? engine.caption(picture.view(), options) : engine.caption_features(grid, options);
  };
  Outcome outcome;
  const auto first = caption({.max_tokens = 3, .num_beams = beams});
  outcome.tokens = first.tokens;
  outcome.log_probability = first.log_probability;
  engine.remember(1, first.text);
  engine.teach(2, "a mug");
  if (engine.can_ask()) {
    const auto answer =
        grid.empty() ? engine.ask(picture.view(), "what is it") : engine.ask_features(grid, "what is it");
    outcome.answer = answer.tokens;
    bitmar::require(std::isfinite(answer.log_probability));
  }
  const auto view = picture.view();
  const auto unit = engine.embed(grid.empty() ? &view : nullptr, "a dog");
  outcome.embedding.assign(unit.begin(), unit.end());
  for (const float v : unit) bitmar::require(std::isfinite(v));
  const std::vector<std::string> texts{" dog", " cat runs"};
  for (const auto& score : engine.score(grid.empty() ? &view : nullptr, "a", texts, {.end = true})) {
    bitmar::require(std::isfinite(score.log_probability));
    outcome.scores.push_back(score.log_probability);
  }
  const auto& decoder = engine.config().decoder;
  if (grid.empty() && decoder.num_sinks + decoder.window_size > 8) {  // as many tokens as the text may have
    for (const auto& word : engine.explain(view, "a dog", {.read_memory = true}).words) {
      const float seen = std::accumulate(word.patches.begin(), word.patches.end(), 0.0f);
      bitmar::require(std::abs(seen + word.prompt + word.memory + word.before - 1) < 1e-3f);
      outcome.attention.insert(outcome.attention.end(), word.patches.begin(), word.patches.end());
    }
  }
  outcome.memory = engine.memory().snapshot();
  bitmar::require(engine.load_memory(bitmar::ByteSpan(outcome.memory), {}, false).dropped_slots == 0);
  bitmar::require(engine.memory().snapshot() == outcome.memory);
  outcome.later = caption({.prompt = "a", .max_tokens = 2, .read_memory = true}).tokens;
  return outcome;
}

}  // namespace

void bitmar::fuzz(Input input) {
  const std::uint8_t seed = take(input);
  const auto& [original, picture, grid] = subject(seed);
  ModelDirectory files = original;
  // Changes: where (three bytes), how many bytes, and these; from 2^23 on, a number of the config.
  bool changed = false;
  while (input.size() > 4) {
    std::size_t at = take(input);
    at = at << 8 | take(input);
    at = at << 8 | take(input);
    const std::uint8_t how = take(input);
    if (at >> 23) {
      change_number(files.config_json, at & 0xFF, how, take(input));
      changed = true;
      continue;
    }
    at %= files.safetensors.size();
    for (std::size_t n = std::min<std::size_t>(1 + how % 8, input.size()); n > 0; --n, ++at) {
      files.safetensors[at % files.safetensors.size()] = take(input);
    }
  }
  if (changed) follow_config(files);
  const auto say = [&, &seen = picture, &numbers = grid](const Kernels& kernels) {
    const auto engine = Engine::load(files_of(files), {.int8_kv_cache = (seed & 128) != 0}, kernels);
    return use(*engine, seen, numbers, 1 + seed / 16 % 3);
  };
  Outcome wanted;
  try {
    wanted = say(scalar_kernels());
  } catch (const Error& error) {
    // Refused at load, and never because of what was computed.
    require(std::strstr(error.what(), "is not finite") == nullptr || std::strstr(error.what(), "holds") != nullptr);
    throw;
  }
  require(std::isfinite(wanted.log_probability));
  require(say(*available_kernels().front()) == wanted);
}
