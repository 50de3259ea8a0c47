#include "bitmar/model.h"

#include <new>
#include <utility>

#include "io/error.h"
#include "model/engine.h"

namespace bitmar {

Model::Model(std::unique_ptr<Engine> engine) : engine_(std::move(engine)) {}
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;
Model::~Model() = default;

Model Model::load(const std::filesystem::path& folder, const LoadOptions& options) {
  try {
    const ModelDirectory directory = read_model_directory(folder);
    return load(files_of(directory), options);
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::out_of_memory, "there is not enough memory for this model");
  }
}

Model Model::load(const ModelFiles& files, const LoadOptions& options) { return Model(Engine::load(files, options)); }

CaptionResult Model::caption(const ImageView& image, const CaptionOptions& options, const TokenCallback& on_piece) {
  return engine_->caption(image, options, on_piece);
}

CaptionResult Model::caption_text(const CaptionOptions& options, const TokenCallback& on_piece) {
  return engine_->caption_text(options, on_piece);
}

Answer Model::ask(const ImageView& image, std::string_view question, const AskOptions& options) {
  return engine_->ask(image, question, options);
}

std::vector<Score> Model::score(std::string_view prefix, std::span<const std::string> continuations,
                                const ScoreOptions& options) {
  return engine_->score(nullptr, prefix, continuations, options);
}

std::vector<Score> Model::score(const ImageView& image, std::string_view prefix,
                                std::span<const std::string> continuations, const ScoreOptions& options) {
  return engine_->score(&image, prefix, continuations, options);
}

Explanation Model::explain(const ImageView& image, std::string_view text, const ExplainOptions& options) {
  return engine_->explain(image, text, options);
}

std::vector<float> Model::embed(const ImageView& image, std::string_view text) {
  const std::span<const float> unit = engine_->embed(&image, text);
  return {unit.begin(), unit.end()};
}

std::vector<float> Model::embed(std::string_view text) {
  const std::span<const float> unit = engine_->embed(nullptr, text);
  return {unit.begin(), unit.end()};
}

Memory Model::memory() { return Memory(*engine_); }

ModelInfo Model::info() const {
  return {.parameters = engine_->model().weights().parameters,
          .bytes = engine_->bytes(),
          .kernels = engine_->kernels_name(),
          .threads = engine_->threads(),
          .can_ask = engine_->can_ask()};
}

}  // namespace bitmar
