#include "model/bitmar.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "io/error.h"
#include "model/magnitude.h"

namespace bitmar {

namespace {

int vision_token_count(const Config& c) {
  const int side = c.vision.grid_size / c.compressor.pool_size;
  return side * side;
}

int longest_conditioning(const Config& c) { return 1 + c.text_encoder.max_tokens + vision_token_count(c); }

}  // namespace

// ---- The forward pass ----

Picture BitMar::encode(const std::uint8_t* rgb) {
  Stages& s = *stages_;
  if (!s.vision) throw Error(ErrorCode::invalid_argument, "this model takes feature grids, not pixels");
  const int side = config_.vision.image_size;
  if (!s.last_pixels.same({rgb, std::size_t{3} * side * side})) {
    const auto job = pool_ ? std::make_optional<ThreadPool::Job>(*pool_) : std::nullopt;
    s.vision->run(rgb, s.features.data());
    s.compressor.run(s.features.data(), s.vision_tokens.data());
    ++pictures_;
  }
  return {pictures_, s.features, s.vision_tokens};
}

Picture BitMar::encode(std::span<const float> features) {
  Stages& s = *stages_;
  if (features.size() != s.features.size()) {
    throw Error(ErrorCode::invalid_argument, "a feature grid of this model has " + std::to_string(s.features.size()) +
                                                 " numbers, not " + std::to_string(features.size()));
  }
  // False as well of what is not a number.
  if (!std::ranges::all_of(features, [](float v) { return std::abs(v) <= kMostFeature; })) {
    throw Error(ErrorCode::invalid_argument, "the feature grid holds a number that is not finite, or beyond a million");
  }
  s.last_pixels.forget();
  std::ranges::copy(features, s.features.begin());
  s.compressor.run(s.features.data(), s.vision_tokens.data());
  ++pictures_;
  return {pictures_, s.features, s.vision_tokens};
}

std::optional<Guide> BitMar::expect_words(const Picture& picture) {
  Stages& s = *stages_;
  check_current(picture);
  if (!s.bag_of_words) return std::nullopt;
  if (expected_ != picture.id) {
    s.bag_of_words->summarise(picture.features.data(), picture.tokens.data(), s.states.data());
    s.bag_of_words->expect(score(1).data());
    expected_ = picture.id;
  }
  return s.bag_of_words->guide();
}

Context BitMar::fuse(const Picture* picture, std::span<const int> tokens) {
  Stages& s = *stages_;
  check_prompt(tokens);
  if (picture) check_current(*picture);
  const std::uint64_t id = picture ? picture->id : 0;
  if (const auto* known = s.contexts.find(id, tokens)) return known->context();

  auto [made, encoded] = s.contexts.make(id, tokens);
  if (!encoded) {
    embed(tokens, made.states.data());
    s.text_encoder.run(made.states.data(), made.size);
  }
  std::copy_n(made.states.data(), made.size * config_.hidden_size, made.fused.data());
  s.fusion.run(made.fused.data(), made.size, picture ? picture->tokens.data() : nullptr, s.compressor.tokens(),
               s.pooled.data());
  project(weights_.memory.query_proj, made.query);
  project(weights_.memory.value_proj, made.value);
  s.workspace.observe("memory_query", made.query.data(), 1, config_.memory.width);
  s.workspace.observe("memory_value", made.value.data(), 1, config_.memory.width);
  return s.contexts.finish(made).context();
}

std::optional<std::span<const float>> BitMar::retrieve(const Context& context, int without) {
  Stages& s = *stages_;
  s.contexts.check(context);
  if (!memory_->read(context.query, s.found, without)) return std::nullopt;
  const std::span<const float> shares = memory_->shares_read();
  s.workspace.observe("memory_shares", shares.data(), 1, static_cast<int>(shares.size()));
  linear(s.workspace, weights_.memory.out_proj, s.found.data(), 1, s.retrieved.data());
  rms_norm(s.workspace, s.retrieved.data(), weights_.memory.out_norm, 1, s.retrieved.data());
  s.workspace.observe("retrieved", s.retrieved.data(), 1, config_.hidden_size);
  return s.retrieved;
}

void BitMar::prefill(const Context& context, const Picture* picture, std::optional<std::span<const float>> retrieved) {
  Stages& s = *stages_;
  s.contexts.check(context);
  if (picture) check_current(*picture);
  if (context.picture != (picture ? picture->id : 0)) {
    throw Error(ErrorCode::invalid_argument, "the context was fused with another picture");
  }
  float* end = s.conditioning.data();
  const auto append = [&end](std::span<const float> rows) { end = std::ranges::copy(rows, end).out; };
  if (retrieved) append(*retrieved);
  append(context.fused);
  if (picture) append(picture->tokens);
  const int count = static_cast<int>((end - s.conditioning.data()) / config_.hidden_size);
  s.workspace.observe("conditioning", s.conditioning.data(), count, config_.hidden_size);
  s.decoder.start(s.conditioning.data(), count);
}

std::span<const float> BitMar::decode(int token) {
  embed({&token, 1}, stages_->states.data());
  stages_->decoder.step(stages_->states.data());
  return logits(1);
}

std::span<const float> BitMar::decode(std::span<const int> tokens, std::span<const Decoder::Beam> beams) {
  embed(tokens, stages_->states.data());
  stages_->decoder.step(stages_->states.data(), beams);
  return logits(static_cast<int>(beams.size()));
}

// ---- Its pieces that belong to no stage ----

void BitMar::forget_inputs() {
  stages_->last_pixels.forget();
  stages_->contexts.forget();
  expected_ = 0;
  stages_->decoder.forget();
}

void BitMar::set_observer(Observer* observer) {
  forget_inputs();  // or it would not see them
  stages_->workspace.observer = observer;
}

void BitMar::check_finite(double computed) {
  if (!std::isfinite(computed)) {
    throw Error(ErrorCode::invalid_model, "the model computed a number that is not finite");
  }
}

void BitMar::check_prompt(std::span<const int> tokens) const {
  const std::size_t most = config_.text_encoder.max_tokens;
  if (tokens.size() > most) {
    throw Error(ErrorCode::text_too_long, "a prompt or question has at most " + std::to_string(most - 1) +
                                              " tokens, this one has " + std::to_string(tokens.size() - 1));
  }
  const auto known = [this](int token) { return token >= 0 && token < config_.vocab_size; };
  if (tokens.empty() || !std::all_of(tokens.begin(), tokens.end(), known)) {
    throw Error(ErrorCode::invalid_argument, "a prompt has tokens of the vocabulary, the beginning at least");
  }
}

// out [n, d] = rows of the int8 table, scaled back
void BitMar::embed(std::span<const int> tokens, float* out) const {
  const int d = config_.hidden_size;
  for (const int token : tokens) {
    const std::int8_t* row = weights_.embedding.weight.data() + static_cast<std::ptrdiff_t>(token) * d;
    const float scale = weights_.embedding.scale[token];
    for (int j = 0; j < d; ++j) *out++ = static_cast<float>(row[j]) * scale;
  }
}

void BitMar::check_current(const Picture& picture) const {
  if (picture.id != pictures_) throw Error(ErrorCode::invalid_argument, "this picture was replaced by a later one");
}

// Mean of F -> the memory's space, unit length
void BitMar::project(const Linear& layer, std::span<float> unit) {
  linear(stages_->workspace, layer, stages_->pooled.data(), 1, unit.data());
  const float norm = std::sqrt(kernels_.dot(unit.data(), unit.data(), layer.out));
  check_finite(norm);
  const float length = std::max(norm, 1e-6f);
  for (float& v : unit) v /= length;
}

std::span<const float> BitMar::logits(int beams) {
  const auto scores = score(beams);
  stages_->workspace.observe("logits", scores.data(), beams, config_.vocab_size);
  return scores;
}

// int8(states) . int8(table)^T, scaled back by both sides
std::span<const float> BitMar::score(int beams) {
  Stages& s = *stages_;
  const int vocabulary = config_.vocab_size;
  const QuantisedRows rows = quantise(s.workspace, s.states.data(), beams, config_.hidden_size);
  std::int32_t* acc = s.workspace.accumulators.data();
  kernels_.int8_gemm(weights_.embedding.weight.data(), rows.values, beams, vocabulary, config_.hidden_size, acc);
  for (int i = 0; i < beams; ++i) {
    float* logits = s.logits.data() + i * vocabulary;
    for (int v = 0; v < vocabulary; ++v) {
      logits[v] = static_cast<float>(acc[i * vocabulary + v]) * rows.scales[i] * weights_.embedding.scale[v];
    }
  }
  return s.logits.first(static_cast<std::size_t>(beams) * vocabulary);
}

// ---- Memory, planned once ----

Needs BitMar::plan(const Config& c, const Weights& w) {
  Needs needs;
  const int texts = c.text_encoder.max_tokens, visions = vision_token_count(c);
  if (c.vision.takes_pixels()) VisionEncoder::plan(c.vision, w.vision, needs);
  Compressor::plan(c.vision.grid_size, c.compressor.pool_size, w.compressor, needs);
  TextEncoder::plan(c.text_encoder, w.text_encoder, needs);
  Fusion::plan(texts, visions, w.fusion, needs);
  needs.product(w.memory.query_proj, 1);
  needs.product(w.memory.value_proj, 1);
  needs.product(w.memory.out_proj, 1);
  Decoder::plan(c.decoder, longest_conditioning(c), kMaxBeams, w.decoder, needs);
  if (c.bag_of_words) BagOfWords::plan(w.bag_of_words, needs);
  needs.quantised = std::max(needs.quantised, std::size_t{kMaxBeams} * c.hidden_size);
  needs.accumulators = std::max(needs.accumulators, std::size_t{kMaxBeams} * c.vocab_size);
  needs.rows = std::max(needs.rows, std::size_t{kMaxBeams});
  return needs;
}

BitMar::Stages::Stages(const Config& c, const Weights& w, const Kernels& k, const Needs& needs, bool int8_cache,
                       ThreadPool* pool, Arena& arena)
    : workspace(k, c.rms_norm_eps, needs, arena),
      compressor(c.vision.grid_size, c.compressor.pool_size, w.compressor, workspace, arena),
      text_encoder(c.text_encoder, c.hidden_size, w.text_encoder, workspace, arena),
      fusion(c.fusion.num_heads, c.text_encoder.max_tokens, vision_token_count(c), w.fusion, workspace, arena),
      decoder(c.decoder, c.hidden_size, longest_conditioning(c), kMaxBeams, int8_cache, w.decoder, workspace, arena),
      sampler(c.vocab_size, arena),
      beam_search(c.vocab_size, c.decoder.num_sinks + c.decoder.window_size, arena),
      last_pixels(c.vision.takes_pixels() ? std::size_t{3} * c.vision.image_size * c.vision.image_size : 0, arena),
      contexts(c.text_encoder.max_tokens, c.hidden_size, c.memory.width, arena) {
  if (pool) {
    others.reserve(pool->threads() - 1);
    for (int i = 1; i < pool->threads(); ++i) others.emplace_back(k, c.rms_norm_eps, needs, arena);
    workspace.pool = pool;
    workspace.others = others.data();
  }
  if (c.bag_of_words) bag_of_words.emplace(c, compressor.tokens(), w.bag_of_words, workspace, arena);
  const auto take = [&](std::size_t rows, std::size_t width) {
    return arena.take<float>(Purpose::activations, rows * width);
  };
  const std::size_t d = c.hidden_size, v = c.vocab_size;
  features = take(std::size_t{1} * c.vision.grid_size * c.vision.grid_size, c.vision.feature_size);
  vision_tokens = take(compressor.tokens(), d);
  pooled = take(1, d);
  found = take(1, c.memory.width);
  retrieved = take(1, d);
  conditioning = take(longest_conditioning(c), d);
  states = take(kMaxBeams, d);
  logits = take(kMaxBeams, v);
  // Last, since its stem writes beyond what the arena counts as taken (shared() in vision_encoder.cpp).
  if (c.vision.takes_pixels()) vision.emplace(c.vision, w.vision, workspace, arena);
}

BitMar::BitMar(const Config& config, const SafeTensors& file, const Kernels& kernels, bool int8_cache, int threads)
    : config_(config), kernels_(kernels), weights_(config_, file, kernels) {
  const Needs needs = plan(config_, weights_);
  if (threads > 1) pool_.emplace(threads);
  ThreadPool* const pool = pool_ ? &*pool_ : nullptr;
  stages_.emplace(config_, weights_, kernels_, needs, int8_cache, pool, arena_);
  arena_.commit();
  stages_.emplace(config_, weights_, kernels_, needs, int8_cache, pool, arena_);
  resize_memory(config_.memory.num_slots);
}

// In an arena of its own, which can be planned again.
void BitMar::resize_memory(int slots) {
  const MemoryConfig& c = config_.memory;
  const EpisodicMemory::Settings settings{.slots = slots,
                                          .width = c.width,
                                          .temperature = c.temperature,
                                          .alpha = c.alpha,
                                          .novelty_threshold = c.novelty_threshold,
                                          .read_threshold = c.read_threshold,
                                          .recall_threshold = c.recall_threshold,
                                          .policy = memory_ ? memory_->settings().policy : EpisodicMemory::Policy{}};
  Arena arena;
  EpisodicMemory(settings, kernels_, arena);
  arena.commit();
  memory_.emplace(settings, kernels_, arena);
  memory_arena_ = std::move(arena);
}

}  // namespace bitmar
