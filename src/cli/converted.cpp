#include "cli/converted.h"

#include <cstring>
#include <string_view>

#include "cli/photos.h"
#include "io/error.h"
#include "io/json.h"

namespace bitmar::cli {

namespace {

constexpr std::size_t kMaxConfig = 1 << 20, kMaxVector = 1 << 20;

// Empty where there is none.
std::vector<float> vector_of(const Arguments& arguments) {
  if (arguments.photos.empty()) return {};
  const std::vector<std::uint8_t> bytes = read_input(arguments.photos[0], kMaxVector);
  if (bytes.empty() || bytes.size() % sizeof(float) != 0)
    throw Error(ErrorCode::invalid_argument, arguments.photos[0] + " is no file of float32 numbers");
  std::vector<float> vector(bytes.size() / sizeof(float));
  std::memcpy(vector.data(), bytes.data(), bytes.size());
  return vector;
}

void refuse_options_of_own_models(const Arguments& arguments) {
  if (!arguments.of_own_models.empty())
    throw UsageError("a converted checkpoint takes no " + arguments.of_own_models[0]);
}

compat::Vision vision_of(const std::vector<float>& vector) {
  return vector.empty() ? std::nullopt : compat::Vision(vector);
}

}  // namespace

bool is_converted(const std::filesystem::path& folder) {
  try {
    const std::vector<std::uint8_t> bytes = read_file(folder / "config.json", kMaxConfig);
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    parse_json(text, ErrorCode::invalid_config, "config.json");
    return compat::is_compat(text);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::invalid_argument) throw;
    return false;  // too large: whoever loads it as a model says so
  }
}

std::vector<Score> scores_of_converted(const std::filesystem::path& folder, const Arguments& arguments) {
  refuse_options_of_own_models(arguments);
  const compat::TextModel model(folder);
  const std::vector<float> vector = vector_of(arguments);
  return model.score(arguments.prefix.value_or(""), arguments.texts, vision_of(vector));
}

compat::TextModel::Completion complete_by_converted(const std::filesystem::path& folder, const Arguments& arguments) {
  refuse_options_of_own_models(arguments);
  const compat::TextModel model(folder);
  const std::vector<float> vector = vector_of(arguments);
  return model.complete(arguments.prefix.value_or(""), vision_of(vector), arguments.options.max_tokens);
}

}  // namespace bitmar::cli
