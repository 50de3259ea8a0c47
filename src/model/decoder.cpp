#include "model/decoder.h"

#include <algorithm>
#include <array>
#include <string>

namespace bitmar {

namespace {

std::string name_of(int layer) { return "decoder.layers." + std::to_string(layer); }

}  // namespace

void Decoder::plan(const DecoderConfig& config, int longest, int beams, const DecoderWeights& weights, Needs& needs) {
  needs.scores = std::max(needs.scores, static_cast<std::size_t>(longest) + config.num_sinks + config.window_size);
  for (const DecoderLayerWeights& layer : weights.layers) {
    needs.product(layer.conditioning_k, longest);
    needs.product(layer.conditioning_v, longest);
    needs.attention(layer.attention, beams, beams);
    needs.feed_forward(layer.ffn, beams);
  }
}

Decoder::Decoder(const DecoderConfig& config, int width, int longest, int beams, bool int8_cache,
                 const DecoderWeights& weights, Workspace& workspace, Arena& arena)
    : weights_(weights),
      workspace_(workspace),
      heads_(config.num_heads),
      width_(width),
      longest_(longest),
      cache_({.layers = config.num_layers,
              .heads = config.num_heads,
              .head = width / config.num_heads,
              .sinks = config.num_sinks,
              .window = config.window_size,
              .rope_theta = config.rope_theta,
              .int8 = int8_cache},
             workspace.kernels, arena),
      last_conditioning_(static_cast<std::size_t>(longest) * width, arena) {
  const std::size_t conditioning = static_cast<std::size_t>(config.num_layers) * longest * width;
  conditioning_keys_ = arena.take<float>(Purpose::kv_cache, conditioning);
  conditioning_values_ = arena.take<float>(Purpose::kv_cache, conditioning);
  for (auto* rows : {&normed_, &q_, &turned_, &k_, &v_, &mixed_, &out_}) {
    *rows = arena.take<float>(Purpose::activations, static_cast<std::size_t>(beams) * width);
  }
  hidden_ = arena.take<float>(Purpose::activations, static_cast<std::size_t>(beams) * config.intermediate_size);
}

void Decoder::start(const float* conditioning, int n) {
  conditioning_size_ = n;
  cache_.start();
  if (last_conditioning_.same({conditioning, static_cast<std::size_t>(n) * width_})) return;
  const QuantisedRows rows = quantise(workspace_, conditioning, n, width_);
  workspace_.for_pieces(static_cast<int>(weights_.layers.size()), [&](int i, const Workspace& own) {
    const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(i) * longest_ * width_;
    linear(own, weights_.layers[i].conditioning_k, rows, conditioning_keys_.data() + at);
    linear(own, weights_.layers[i].conditioning_v, rows, conditioning_values_.data() + at);
  });
}

void Decoder::step(float* x, std::span<const Beam> beams) {
  cache_.advance();
  run_layers(x, beams);
}

void Decoder::step(float* x) {
  cache_.advance();
  const Beam beam{cache_.own_row(), cache_.rows()};
  run_layers(x, {&beam, 1});
}

// Self-attention and conditioning share one softmax. The conditioning sequence has no order, so its keys
// meet the query before rotation.
void Decoder::attend_beam(int layer, int beam_index, const Beam& beam) {
  const int at = beam_index * width_;
  float* turned = turned_.data() + at;
  std::copy_n(q_.data() + at, width_, turned);
  cache_.turn_query(turned);
  const std::size_t conditioning = static_cast<std::size_t>(layer) * longest_ * width_;
  const std::array<KeyRange, 2> ranges{{
      {q_.data() + at,
       {.floats = conditioning_keys_.data() + conditioning},
       {.floats = conditioning_values_.data() + conditioning},
       {},
       conditioning_size_},
      {turned, cache_.keys(layer), cache_.values(layer), beam.rows, static_cast<int>(beam.rows.size())},
  }};
  const std::string name = workspace_.observer ? name_of(layer) + ".attention" : std::string();
  attend(workspace_, ranges, heads_, width_ / heads_, mixed_.data() + at, name);
}

void Decoder::run_layers(float* x, std::span<const Beam> beams) {
  const Workspace& w = workspace_;
  const int m = static_cast<int>(beams.size());
  for (int i = 0; i < static_cast<int>(weights_.layers.size()); ++i) {
    const DecoderLayerWeights& layer = weights_.layers[i];
    rms_norm(w, x, layer.attention_norm, m, normed_.data());
    const QuantisedRows rows = quantise(w, normed_.data(), m, width_);
    linear(w, layer.attention.q_proj, rows, q_.data());
    linear(w, layer.attention.k_proj, rows, k_.data());
    linear(w, layer.attention.v_proj, rows, v_.data());
    for (int beam = 0; beam < m; ++beam) {
      cache_.put(i, beams[beam].row, k_.data() + beam * width_, v_.data() + beam * width_);
      attend_beam(i, beam, beams[beam]);
    }
    rms_norm(w, mixed_.data(), layer.attention.sub_norm, m, mixed_.data());
    linear(w, layer.attention.o_proj, mixed_.data(), m, out_.data());
    w.kernels.add(out_.data(), m * width_, x);

    rms_norm(w, x, layer.ffn_norm, m, normed_.data());
    feed_forward(w, layer.ffn, normed_.data(), m, hidden_.data(), out_.data());
    w.kernels.add(out_.data(), m * width_, x);
    if (w.observer) w.observe(name_of(i), x, m, width_);
  }
  rms_norm(w, x, weights_.norm, m, x);
}

}  // namespace bitmar
