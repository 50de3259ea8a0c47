#include "model/layers.h"

#include <algorithm>
#include <cmath>

#include "runtime/rotary.h"

namespace bitmar {

void Needs::product(const Linear& layer, int row_count) {
  const std::size_t m = row_count;
  rows = std::max(rows, m);
  quantised = std::max(quantised, m * layer.in);
  accumulators = std::max(accumulators, m * layer.out);
  kernel_bytes = std::max(kernel_bytes, layer.weight.scratch_bytes(row_count));
}

void Needs::attention(const AttentionWeights& weights, int queries, int keys) {
  product(weights.q_proj, queries);
  product(weights.k_proj, keys);
  product(weights.v_proj, keys);
  product(weights.o_proj, queries);
  scores = std::max(scores, static_cast<std::size_t>(keys));
}

void Needs::feed_forward(const FeedForwardWeights& weights, int row_count) {
  product(weights.up_proj, row_count);
  product(weights.down_proj, row_count);
}

void Needs::encoder_layer(const EncoderLayerWeights& weights, int row_count) {
  const int piece = std::min(row_count, kRowsAPiece);
  attention(weights.attention, piece, piece);
  feed_forward(weights.ffn, piece);
  scores = std::max(scores, static_cast<std::size_t>(row_count));
}

Workspace::Workspace(const Kernels& k, float norm_eps, const Needs& needs, Arena& arena)
    : kernels(k),
      eps(norm_eps),
      quantised(arena.take<std::int8_t>(Purpose::scratch, needs.quantised)),
      row_scales(arena.take<float>(Purpose::scratch, needs.rows)),
      accumulators(arena.take<std::int32_t>(Purpose::scratch, needs.accumulators)),
      scores(arena.take<float>(Purpose::scratch, needs.scores)),
      kernel(arena.take<std::byte>(Purpose::scratch, needs.kernel_bytes)) {}

void rms_norm(const Workspace& w, const float* x, const Norm& norm, int rows, float* y) {
  const int n = static_cast<int>(norm.size());
  for (int i = 0; i < rows; ++i) w.kernels.rms_norm(x + i * n, norm.data(), n, w.eps, y + i * n);
}

QuantisedRows quantise(const Workspace& w, const float* x, int rows, int n) {
  for (int i = 0; i < rows; ++i) w.row_scales[i] = w.kernels.quantize_row(x + i * n, n, w.quantised.data() + i * n);
  return {w.quantised.data(), w.row_scales.data(), rows};
}

void linear(const Workspace& w, const Linear& layer, const QuantisedRows& x, float* y) {
  std::int32_t* acc = w.accumulators.data();
  w.kernels.ternary_gemm(layer.weight, x.values, x.rows, acc, w.kernel.data());
  w.observe(layer.name, acc, x.rows, layer.out);
  for (int i = 0; i < x.rows; ++i) {
    w.kernels.dequantize(acc + i * layer.out, layer.out, x.scales[i] * layer.scale, y + i * layer.out);
  }
}

void linear(const Workspace& w, const Linear& layer, const float* x, int rows, float* y) {
  linear(w, layer, quantise(w, x, rows, layer.in), y);
}

void attend(const Workspace& w, std::span<const KeyRange> ranges, int heads, int head, float* out,
            std::string_view name) {
  const Kernels& kernels = w.kernels;
  float* const scores = w.scores.data();
  const int width = heads * head;
  const float scale = 1.0f / std::sqrt(static_cast<float>(head));
  const auto at_of = [](const KeyRange& r) { return r.rows.empty() ? nullptr : r.rows.data(); };
  const auto row = [](const KeyRange& r, int i) { return static_cast<std::ptrdiff_t>(r.rows.empty() ? i : r.rows[i]); };
  std::fill_n(out, width, 0.0f);
  for (int h = 0; h < heads; ++h) {
    const int start = h * head;
    float* score = scores;
    for (const KeyRange& r : ranges) {
      const KvRows& k = r.keys;
      const float* const query = r.query + start;
      if (k.floats) {
        kernels.dot_rows(query, k.floats + start, at_of(r), width, r.count, head, score);
      } else {
        for (int i = 0; i < r.count; ++i) {
          const std::ptrdiff_t at = row(r, i);
          score[i] = kernels.dot_int8(query, k.bytes + at * width + start, head) * k.scales[at * heads + h];
        }
      }
      score += r.count;
    }
    const int count = static_cast<int>(score - scores);
    for (int i = 0; i < count; ++i) scores[i] *= scale;
    kernels.softmax(scores, count);
    if (!name.empty()) w.observe(name, scores, 1, count);
    score = scores;
    for (const KeyRange& r : ranges) {
      const KvRows& v = r.values;
      if (v.floats) {
        kernels.axpy_rows(score, v.floats + start, at_of(r), width, r.count, head, out + start);
      } else {
        for (int i = 0; i < r.count; ++i) {
          const std::ptrdiff_t at = row(r, i);
          kernels.axpy_int8(score[i] * v.scales[at * heads + h], v.bytes + at * width + start, head, out + start);
        }
      }
      score += r.count;
    }
  }
}

AttentionBuffers::AttentionBuffers(int queries, int keys, int width, Arena& arena) {
  const auto take = [&](int rows) {
    return arena.take<float>(Purpose::activations, static_cast<std::size_t>(rows) * width);
  };
  q = take(queries);
  k = take(keys);
  v = take(keys);
  mixed = take(queries);
}

LayerBuffers::LayerBuffers(int rows, int width, int intermediate, Arena& arena)
    : attention(rows, rows, width, arena),
      normed(arena.take<float>(Purpose::activations, static_cast<std::size_t>(rows) * width)),
      out(arena.take<float>(Purpose::activations, static_cast<std::size_t>(rows) * width)),
      hidden(arena.take<float>(Purpose::activations, static_cast<std::size_t>(rows) * intermediate)) {}

namespace {

// Rows `first` .. of a block of attention: all its parts take x at its first row, and buffers as a whole.
struct Attention {
  const AttentionWeights& weights;
  int heads;
  AttentionBuffers& b;
  int width = weights.q_proj.out;

  void queries(const Workspace& w, const QuantisedRows& x, int first) const {
    linear(w, weights.q_proj, x, b.q.data() + first * width);
  }
  void keys(const Workspace& w, const QuantisedRows& x, int first) const {
    linear(w, weights.k_proj, x, b.k.data() + first * width);
    linear(w, weights.v_proj, x, b.v.data() + first * width);
  }
  void turn(const RotaryTable& rope, int first, int rows) const {
    const int head = width / heads;
    for (int i = first; i < first + rows; ++i) {
      const int at = i * head / 2;
      rotate(b.q.data() + i * width, heads, head, &rope.cos[at], &rope.sin[at]);
      rotate(b.k.data() + i * width, heads, head, &rope.cos[at], &rope.sin[at]);
    }
  }
  void mix(const Workspace& w, int first, int rows, int key_count, float* y) const {
    float* mixed = b.mixed.data() + first * width;
    for (int i = 0; i < rows; ++i) {
      const KeyRange all{
          b.q.data() + (first + i) * width, {.floats = b.k.data()}, {.floats = b.v.data()}, {}, key_count};
      attend(w, {&all, 1}, heads, width / heads, mixed + i * width);
    }
    rms_norm(w, mixed, weights.sub_norm, rows, mixed);
    linear(w, weights.o_proj, mixed, rows, y);
  }
};

}  // namespace

void attention(const Workspace& w, const AttentionWeights& weights, int heads, const float* x, int queries,
               const float* context, int keys, AttentionBuffers& b, float* y) {
  const Attention block{weights, heads, b};
  block.queries(w, quantise(w, x, queries, block.width), 0);
  block.keys(w, quantise(w, context, keys, block.width), 0);
  block.mix(w, 0, queries, keys, y);
}

void feed_forward(const Workspace& w, const FeedForwardWeights& weights, const float* x, int rows, float* hidden,
                  float* y) {
  linear(w, weights.up_proj, x, rows, hidden);
  w.kernels.relu_squared(hidden, rows * weights.up_proj.out);
  rms_norm(w, hidden, weights.sub_norm, rows, hidden);
  linear(w, weights.down_proj, hidden, rows, y);
}

void encoder_layer(const Workspace& w, const EncoderLayerWeights& weights, int heads, int rows, const RotaryTable* rope,
                   LayerBuffers& b, float* x) {
  const Attention block{weights.attention, heads, b.attention};
  const int width = block.width, intermediate = weights.ffn.up_proj.out;
  w.for_rows(rows, [&](int first, int n, const Workspace& own) {
    float* normed = b.normed.data() + first * width;
    rms_norm(own, x + first * width, weights.attention_norm, n, normed);
    const QuantisedRows quantised = quantise(own, normed, n, width);
    block.queries(own, quantised, first);
    block.keys(own, quantised, first);
    if (rope) block.turn(*rope, first, n);
  });
  // With all keys and values in place rows go their own ways to the layer's end.
  w.for_rows(rows, [&](int first, int n, const Workspace& own) {
    const int at = first * width;
    float *normed = b.normed.data() + at, *out = b.out.data() + at;
    block.mix(own, first, n, rows, out);
    own.kernels.add(out, n * width, x + at);
    rms_norm(own, x + at, weights.ffn_norm, n, normed);
    feed_forward(own, weights.ffn, normed, n, b.hidden.data() + first * intermediate, out);
    own.kernels.add(out, n * width, x + at);
  });
}

}  // namespace bitmar
