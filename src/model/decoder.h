// Computes the next token's state from the conditioning and the tokens so far, one token at a time.
#pragma once

#include <span>

#include "model/layers.h"
#include "model/weights.h"
#include "runtime/kv_cache.h"
#include "runtime/last_input.h"

namespace bitmar {

class Decoder {
 public:
  // Conditioning sequences of at most `longest` tokens, steps of at most `beams` tokens side by side.
  Decoder(const DecoderConfig& config, int width, int longest, int beams, bool int8_cache,
          const DecoderWeights& weights, Workspace& workspace, Arena& arena);
  static void plan(const DecoderConfig& config, int longest, int beams, const DecoderWeights& weights, Needs& needs);

  // Every layer's own keys and values of the conditioning sequence [n, d], unless it is the last one; and a new stream.
  void start(const float* conditioning, int n);
  void forget() { last_conditioning_.forget(); }

  // Where a token's keys and values go, and which rows it sees (its own among them).
  struct Beam {
    int row;
    std::span<const int> rows;
  };
  // x [beams, d] in place: embeddings of one position's tokens -> normed states.
  void step(float* x, std::span<const Beam> beams);
  // The same for a single stream that never ends: sinks and sliding window.
  void step(float* x);

  // A place in that stream, to go on from in several ways of at most `longest` tokens each, one after another.
  KvCache::Mark mark(int longest) const { return cache_.mark(longest); }
  void rewind(const KvCache::Mark& mark) { cache_.rewind(mark); }

 private:
  void attend_beam(int layer, int beam_index, const Beam& beam);
  void run_layers(float* x, std::span<const Beam> beams);

  const DecoderWeights& weights_;
  Workspace& workspace_;
  int heads_, width_, longest_;
  KvCache cache_;
  std::span<float> conditioning_keys_, conditioning_values_;  // [layers, longest, d]
  int conditioning_size_ = 0;
  LastInput<float> last_conditioning_;                          // [longest, d]
  std::span<float> normed_, q_, turned_, k_, v_, mixed_, out_;  // [beams, d]
  std::span<float> hidden_;                                     // [beams, intermediate]
};

}  // namespace bitmar
