// The forward pass: encode an image, fuse it with a prompt, search the memory, condition the decoder, decode token by
// token.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "io/config.h"
#include "io/safetensors.h"
#include "kernels/kernels.h"
#include "memory/episodic_memory.h"
#include "model/bag_of_words.h"
#include "model/compressor.h"
#include "model/context_cache.h"
#include "model/decoder.h"
#include "model/fusion.h"
#include "model/layers.h"
#include "model/text_encoder.h"
#include "model/vision_encoder.h"
#include "model/weights.h"
#include "runtime/arena.h"
#include "runtime/beam_search.h"
#include "runtime/last_input.h"
#include "runtime/sampler.h"
#include "runtime/thread_pool.h"

namespace bitmar {

// What the model makes of an image: its feature grid, and the vision tokens that the other stages read. Two views of
// the model's own buffers, valid until another image is encoded; a later use throws invalid_argument.
struct Picture {
  std::uint64_t id;                 // counts the images
  std::span<const float> features;  // [P, feature_size]
  std::span<const float> tokens;    // [m, d]
};

// The forward pass as functions of values: no files, no text, no clock. What a call is given again, it does not compute
// again: the same pixels give the same Picture, the same picture and tokens the same Context.
class BitMar {
 public:
  // int8_cache: keys and values of the decoder's stream as int8, a quarter of the memory, a little less exact
  // threads: that share the work on an image, the caller's included
  BitMar(const Config& config, const SafeTensors& file, const Kernels& kernels, bool int8_cache = false,
         int threads = 1);
  BitMar(const BitMar&) = delete;
  BitMar& operator=(const BitMar&) = delete;

  // ---- 1. Vision ----
  Picture encode(const std::uint8_t* rgb);          // [S, S, 3]
  Picture encode(std::span<const float> features);  // [P, feature_size], numbers up to kMostFeature

  // The words predicted from a picture, for beam search and confidence to compare captions with. Valid until the next
  // call; absent in models without a bag-of-words head.
  std::optional<Guide> expect_words(const Picture& picture);
  // The probabilities [V] behind that: valid as long, and only where there was something.
  std::span<const float> word_probabilities() const { return stages_->bag_of_words->probabilities(); }

  // ---- 2. Prompt and fusion ----
  void check_prompt(std::span<const int> tokens) const;  // throws text_too_long, invalid_argument
  // tokens: BOS (or the ask token) first, at most max_tokens. Without a picture (nullptr) the text alone.
  Context fuse(const Picture* picture, std::span<const int> tokens);

  // ---- 3. Memory: r [d], valid until the next call; nothing where no episode is near enough ----
  // without: a slot that is passed over; -1: none
  std::optional<std::span<const float>> retrieve(const Context& context, int without = -1);

  // ---- 4. Conditioning: [r ; F ; V] to every decoder layer; a new stream begins ----
  // picture: the context's, or nullptr where it has none
  void prefill(const Context& context, const Picture* picture, std::optional<std::span<const float>> retrieved);

  // ---- 5. Decoding: a token in, logits of the next out, valid until the next call ----
  std::span<const float> decode(int token);  // [V]
  // A place in the stream, to decode several continuations of at most `longest` tokens from, one after another.
  KvCache::Mark mark(int longest) const { return stages_->decoder.mark(longest); }
  void rewind(const KvCache::Mark& mark) { stages_->decoder.rewind(mark); }
  // Several continuations side by side. -> [beams, V]
  std::span<const float> decode(std::span<const int> tokens, std::span<const Decoder::Beam> beams);

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
  // From now on everything is computed, so that the observer sees it.
  void set_observer(Observer* observer);
  // What is known already is not computed again: of a picture that was seen, the decoder alone is heard of.
  void watch_decoder(Observer* observer) { stages_->workspace.observer = observer; }
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
    std::optional<BagOfWords> bag_of_words;  // absent in models without the head
    Sampler sampler;
    BeamSearch beam_search;
    LastInput<std::uint8_t> last_pixels;
    ContextCache contexts;
    std::span<float> features;       // [P, feature_size]
    std::span<float> vision_tokens;  // [m, d]
    std::span<float> pooled;         // [d]
    std::span<float> found;          // [C], what the memory's slots give
    std::span<float> retrieved;      // [d] = r
    std::span<float> conditioning;   // [1 + max_tokens + m, d] = [r ; F ; V]
    std::span<float> states;         // [beams, d]
    std::span<float> logits;         // [beams, V]
  };
  static Needs plan(const Config& config, const Weights& weights);
  void embed(std::span<const int> tokens, float* out) const;
  void project(const Linear& layer, std::span<float> unit);
  std::span<const float> score(int beams);
  std::span<const float> logits(int beams);
  void check_current(const Picture& picture) const;

  const Config config_;
  const Kernels& kernels_;
  const Weights weights_;
  std::optional<ThreadPool> pool_;  // absent: one thread
  Arena arena_, memory_arena_;
  std::optional<Stages> stages_;
  std::optional<EpisodicMemory> memory_;
  std::uint64_t pictures_ = 0;  // so many images were encoded
  std::uint64_t expected_ = 0;  // the picture whose words are expected
};

}  // namespace bitmar
