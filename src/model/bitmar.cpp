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

void BitMar::see_pixels(const std::uint8_t* rgb) {
  Stages& s = *stages_;
  if (!s.vision) throw Error(ErrorCode::invalid_argument, "this model takes feature grids, not pixels");
  const int side = config_.vision.image_size;
  has_vision_ = true;
  if (s.last_pixels.same({rgb, std::size_t{3} * side * side})) return;
  ++image_;
  const auto job = pool_ ? std::make_optional<ThreadPool::Job>(*pool_) : std::nullopt;
  s.vision->run(rgb, s.features.data());
  s.compressor.run(s.features.data(), s.vision_tokens.data());
}

void BitMar::see_features(std::span<const float> grid) {
  Stages& s = *stages_;
  if (grid.size() != s.features.size()) {
    throw Error(ErrorCode::invalid_argument, "a feature grid of this model has " + std::to_string(s.features.size()) +
                                                 " numbers, not " + std::to_string(grid.size()));
  }
  // False as well of what is not a number.
  if (!std::all_of(grid.begin(), grid.end(), [](float v) { return std::abs(v) <= kMostFeature; })) {
    throw Error(ErrorCode::invalid_argument, "the feature grid holds a number that is not finite, or beyond a million");
  }
  std::ranges::copy(grid, s.features.begin());
  s.compressor.run(s.features.data(), s.vision_tokens.data());
  has_vision_ = true;
  ++image_;
  s.last_pixels.forget();
}

void BitMar::see_nothing() { has_vision_ = false; }

void BitMar::see_again() { has_vision_ = true; }

void BitMar::read(std::span<const int> tokens) {
  Stages& s = *stages_;
  check_prompt(tokens);
  const int image = has_vision_ ? image_ : 0;
  if (!s.last_prompt.same(tokens)) {
    text_size_ = static_cast<int>(tokens.size());
    embed(tokens, s.text_states.data());
    s.text_encoder.run(s.text_states.data(), text_size_);
  } else if (fused_ == image) {
    return;
  }
  fused_ = image;
  float* text = s.text(config_.hidden_size);
  std::copy_n(s.text_states.data(), text_size_ * config_.hidden_size, text);
  s.fusion.run(text, text_size_, has_vision_ ? s.vision_tokens.data() : nullptr, s.compressor.tokens(),
               s.pooled.data());
  project(weights_.memory.query_proj, s.query);
  project(weights_.memory.value_proj, s.value);
  s.workspace.observe("memory_query", s.query.data(), 1, config_.memory.width);
  s.workspace.observe("memory_value", s.value.data(), 1, config_.memory.width);
}

void BitMar::condition(bool recall) {
  Stages& s = *stages_;
  const int d = config_.hidden_size;
  // F is in place already, one token into s.conditioning: r goes before it, the vision tokens after.
  float* begin = s.text(d);
  int count = text_size_;
  if (recall && memory_->read(s.query, s.retrieved)) {
    begin = s.conditioning.data();
    ++count;
    linear(s.workspace, weights_.memory.out_proj, s.retrieved.data(), 1, begin);
    rms_norm(s.workspace, begin, weights_.memory.out_norm, 1, begin);
    s.workspace.observe("retrieved", begin, 1, d);
  }
  if (has_vision_) {
    std::copy(s.vision_tokens.begin(), s.vision_tokens.end(), begin + count * d);
    count += s.compressor.tokens();
  }
  s.workspace.observe("conditioning", begin, count, d);
  s.decoder.start(begin, count);
}

std::optional<Guide> BitMar::expect_words() {
  Stages& s = *stages_;
  if (!s.words || !has_vision_) return std::nullopt;
  if (expected_ != image_) {
    expected_ = image_;
    s.words->summarise(s.features.data(), s.vision_tokens.data(), s.states.data());
    s.words->expect(score(1).data());
  }
  return s.words->guide();
}

std::span<const float> BitMar::next(int token) {
  embed({&token, 1}, stages_->states.data());
  stages_->decoder.step(stages_->states.data());
  return logits(1);
}

std::span<const float> BitMar::next(std::span<const int> tokens, std::span<const Decoder::Lane> lanes) {
  embed(tokens, stages_->states.data());
  stages_->decoder.step(stages_->states.data(), lanes);
  return logits(static_cast<int>(lanes.size()));
}

// ---- Its pieces that belong to no stage ----

void BitMar::forget_inputs() {
  stages_->last_pixels.forget();
  stages_->last_prompt.forget();
  expected_ = -1;
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

// Mean of F -> the memory's space, unit length
void BitMar::project(const Linear& layer, std::span<float> unit) {
  linear(stages_->workspace, layer, stages_->pooled.data(), 1, unit.data());
  const float norm = std::sqrt(kernels_.dot(unit.data(), unit.data(), layer.out));
  check_finite(norm);
  const float length = std::max(norm, 1e-6f);
  for (float& v : unit) v /= length;
}

std::span<const float> BitMar::logits(int lanes) {
  const auto scores = score(lanes);
  stages_->workspace.observe("logits", scores.data(), lanes, config_.vocab_size);
  return scores;
}

// int8(states) . int8(table)^T, scaled back by both sides
std::span<const float> BitMar::score(int lanes) {
  Stages& s = *stages_;
  const int vocabulary = config_.vocab_size;
  const QuantisedRows rows = quantise(s.workspace, s.states.data(), lanes, config_.hidden_size);
  std::int32_t* acc = s.workspace.accumulators.data();
  kernels_.int8_gemm(weights_.embedding.weight.data(), rows.values, lanes, vocabulary, config_.hidden_size, acc);
  for (int i = 0; i < lanes; ++i) {
    float* logits = s.logits.data() + i * vocabulary;
    for (int v = 0; v < vocabulary; ++v) {
      logits[v] = static_cast<float>(acc[i * vocabulary + v]) * rows.scales[i] * weights_.embedding.scale[v];
    }
  }
  return s.logits.first(static_cast<std::size_t>(lanes) * vocabulary);
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
  if (c.words) Words::plan(w.words, needs);
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
      last_prompt(c.text_encoder.max_tokens, arena) {
  if (pool) {
    others.reserve(pool->threads() - 1);
    for (int i = 1; i < pool->threads(); ++i) others.emplace_back(k, c.rms_norm_eps, needs, arena);
    workspace.pool = pool;
    workspace.others = others.data();
  }
  if (c.words) words.emplace(c, compressor.tokens(), w.words, workspace, arena);
  const auto take = [&](std::size_t rows, std::size_t width) {
    return arena.take<float>(Purpose::activations, rows * width);
  };
  const std::size_t d = c.hidden_size, v = c.vocab_size, width = c.memory.width;
  text_states = take(c.text_encoder.max_tokens, d);
  features = take(std::size_t{1} * c.vision.grid_size * c.vision.grid_size, c.vision.feature_size);
  conditioning = take(longest_conditioning(c), d);
  vision_tokens = take(compressor.tokens(), d);
  pooled = take(1, d);
  query = take(1, width);
  value = take(1, width);
  retrieved = take(1, width);
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
