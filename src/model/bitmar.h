// The forward pass: see an image, read a prompt, remember, condition the decoder, speak token by token.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "io/config.h"
#include "io/safetensors.h"
#include "kernels/kernels.h"
#include "model/compressor.h"
#include "model/decoder.h"
#include "model/episodic_memory.h"
#include "model/fusion.h"
#include "model/layers.h"
#include "model/text_encoder.h"
#include "model/vision_encoder.h"
#include "model/weights.h"
#include "model/words.h"
#include "runtime/arena.h"
#include "runtime/beam_search.h"
#include "runtime/last_input.h"
#include "runtime/sampler.h"
#include "runtime/thread_pool.h"

namespace bitmar {

// Tensors in, tensors out: no files, no text, no clock. Calls build on each other in the order below. What a call is
// given a second time in a row, it does not compute again.
class BitMar {
 public:
  // int8_cache: keys and values of the decoder's stream as int8, a quarter of the memory, a little less exact
  // threads: that share the work on an image, the caller's included
  BitMar(const Config& config, const SafeTensors& file, const Kernels& kernels, bool int8_cache = false,
         int threads = 1);
  BitMar(const BitMar&) = delete;
  BitMar& operator=(const BitMar&) = delete;

  // ---- 1. Vision: one of these for each image ----
  void see_pixels(const std::uint8_t* rgb);        // [S, S, 3]
  void see_features(std::span<const float> grid);  // [P, feature_size], numbers up to kMostFeature
  void see_nothing();
  void see_again();  // what was seen last: after see_nothing()

  // ---- 2. Prompt and fusion: F, its mean, and the memory's query and value for it ----
  void check_prompt(std::span<const int> tokens) const;                   // throws text_too_long, invalid_argument
  void read(std::span<const int> tokens);                                 // BOS first, at most max_tokens
  std::span<const float> memory_query() const { return stages_->query; }  // [C], unit length
  std::span<const float> memory_value() const { return stages_->value; }  // [C], unit length
  bool has_vision() const { return has_vision_; }

  // The words predicted from the picture, for beam search and confidence to compare captions with. Valid until the next
  // call; absent in models without a bag-of-words head, and without a picture.
  std::optional<Guide> expect_words();

  // ---- 3. Conditioning: [r ; F ; V] to every decoder layer; a new stream begins ----
  void condition(bool recall);  // r is absent when not asked for, or when the memory is empty

  // ---- 4. Speaking: a token in, logits of the next out, valid until the next call ----
  std::span<const float> next(int token);  // [V]
  // Several continuations side by side. -> [lanes, V]
  std::span<const float> next(std::span<const int> tokens, std::span<const Decoder::Lane> lanes);

  // What no weights that were loaded lead to (see magnitude.h) is the fault of who computes: throws invalid_model.
  static void check_finite(double computed);

  const Config& config() const { return config_; }
  const Kernels& kernels() const { return kernels_; }
  int threads() const { return pool_ ? pool_->threads() : 1; }
  const Weights& weights() const { return weights_; }
  const Arena& arena() const { return arena_; }
  EpisodicMemory& memory() { return *memory_; }
  const Arena& memory_arena() const { return memory_arena_; }
  void resize_memory(int slots);  // to an empty one; on std::bad_alloc everything is as it was
  Sampler& sampler() { return stages_->sampler; }
  BeamSearch& beam_search() { return stages_->beam_search; }
  void set_observer(Observer* observer);
  void forget_inputs();  // the next calls compute everything

 private:
  // All that works in the arena. Built twice: to measure, then for good.
  struct Stages {
    Stages(const Config& config, const Weights& weights, const Kernels& kernels, const Needs& needs, bool int8_cache,
           ThreadPool* pool, Arena& arena);
    Stages(const Stages&) = delete;

    Workspace workspace;
    std::vector<Workspace> others;        // of the other threads
    std::optional<VisionEncoder> vision;  // absent when the model takes features
    Compressor compressor;
    TextEncoder text_encoder;
    Fusion fusion;
    Decoder decoder;
    std::optional<Words> words;  // the bag-of-words head; absent in models without one
    Sampler sampler;
    BeamSearch beam_search;
    LastInput<std::uint8_t> last_pixels;
    LastInput<int> last_prompt;
    std::span<float> text_states;                                 // [max_tokens, d] of the last prompt
    std::span<float> features;                                    // [P, feature_size]
    std::span<float> conditioning;                                // [1 + max_tokens + m, d] = [r ; F ; V]
    float* text(int d) const { return conditioning.data() + d; }  // its second row: F's place
    std::span<float> vision_tokens;                               // [m, d]
    std::span<float> pooled;                                      // [d]
    std::span<float> query, value, retrieved;                     // [C]
    std::span<float> states;                                      // [lanes, d]
    std::span<float> logits;                                      // [lanes, V]
  };
  static Needs plan(const Config& config, const Weights& weights);
  void embed(std::span<const int> tokens, float* out) const;
  void project(const Linear& layer, std::span<float> unit);
  std::span<const float> score(int lanes);
  std::span<const float> logits(int lanes);

  const Config config_;
  const Kernels& kernels_;
  const Weights weights_;
  std::optional<ThreadPool> pool_;  // absent: one thread
  Arena arena_, memory_arena_;
  std::optional<Stages> stages_;
  std::optional<EpisodicMemory> memory_;
  bool has_vision_ = false;
  int image_ = 0;      // counts the images seen
  int fused_ = -1;     // the image that F is fused with, 0 for none; -1: there is no F
  int expected_ = -1;  // the image whose words are expected
  int text_size_ = 0;
};

}  // namespace bitmar
