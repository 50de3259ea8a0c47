// The building blocks shared by all stages: quantised products, attention, feed-forward.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/kernels.h"
#include "model/observer.h"
#include "model/weights.h"
#include "runtime/arena.h"
#include "runtime/kv_cache.h"
#include "runtime/thread_pool.h"

namespace bitmar {

// Rows of a piece of work, at most: enough to keep the weights busy, few enough for scratch to be small. Where threads
// would find no piece, pieces are smaller.
inline constexpr int kRowsAPiece = 64, kFewestRows = 16;

// How much scratch the largest piece of work of the model needs; every stage adds its own layers.
struct Needs {
  std::size_t quantised = 0, rows = 0, accumulators = 0, scores = 0, kernel_bytes = 0;

  void product(const Linear& layer, int rows);
  void attention(const AttentionWeights& weights, int queries, int keys);
  void feed_forward(const FeedForwardWeights& weights, int rows);
  void encoder_layer(const EncoderLayerWeights& weights, int rows);
};

// What every stage works with: kernels, and scratch that lives for one product. With threads there is one for each.
struct Workspace {
  Workspace(const Kernels& kernels, float eps, const Needs& needs, Arena& arena);

  // task(first, count, workspace) for `rows` rows, piece by piece: by several threads where there are some, each
  // with scratch of its own. Pieces know nothing of each other. One thread where somebody observes, for the order's
  // sake.
  template <class Task>
  void for_rows(int rows, const Task& task) const {
    const int size = rows_a_piece(rows);
    for_pieces((rows + size - 1) / size,
               [&](int piece, const Workspace& own) { task(piece * size, std::min(size, rows - piece * size), own); });
  }
  int rows_a_piece(int rows) const {
    const int share = (rows + threads() - 1) / threads();
    return threads() == 1 ? kRowsAPiece : std::clamp(share, kFewestRows, kRowsAPiece);
  }
  // task(piece, workspace)
  template <class Task>
  void for_pieces(int pieces, const Task& task) const {
    if (!pool || observer) {
      for (int i = 0; i < pieces; ++i) task(i, *this);
    } else {
      pool->run(pieces, [&](int piece, int thread) { task(piece, thread ? others[thread - 1] : *this); });
    }
  }

  int threads() const { return pool ? pool->team() : 1; }  // that now share the work

  void observe(std::string_view stage, const float* values, int rows, int columns) const {
    if (observer) observer->values(stage, values, rows, columns);
  }
  void observe(std::string_view layer, const std::int32_t* values, int rows, int columns) const {
    if (observer) observer->accumulators(layer, values, rows, columns);
  }

  const Kernels& kernels;
  float eps;  // of every RMS norm
  Observer* observer = nullptr;
  ThreadPool* pool = nullptr;            // absent: one thread
  const Workspace* others = nullptr;     // of the pool's other threads
  std::span<std::int8_t> quantised;      // rows of one product's input
  std::span<float> row_scales;           // their scales
  std::span<std::int32_t> accumulators;  // [rows, out]
  std::span<float> scores;               // of one query with all its keys
  std::span<std::byte> kernel;           // the kernels' own
};

// y [rows, n] = norm of each row of x
void rms_norm(const Workspace& w, const float* x, const Norm& norm, int rows, float* y);

// Rows as int8 with a scale each, in the workspace; several layers may then read the same rows.
struct QuantisedRows {
  const std::int8_t* values;  // [rows, n]
  const float* scales;        // [rows]
  int rows;
};
QuantisedRows quantise(const Workspace& w, const float* x, int rows, int n);

// y [rows, out] = x . t^T, scaled back
void linear(const Workspace& w, const Linear& layer, const QuantisedRows& x, float* y);
void linear(const Workspace& w, const Linear& layer, const float* x, int rows, float* y);

// Keys and values that one query row looks at.
struct KeyRange {
  const float* query;         // [width]
  KvRows keys, values;        // [.., width]
  std::span<const int> rows;  // which rows; of an empty list the first `count`
  int count;
};
// out [width] = per head softmax(q . k / sqrt(head)) v over all ranges together. An observer sees the softmax of each
// head [1, keys], if it has a name.
void attend(const Workspace& w, std::span<const KeyRange> ranges, int heads, int head, float* out,
            std::string_view name = {});

struct RotaryTable {
  std::span<const float> cos, sin;  // [positions, head / 2]
};

// Buffers of an attention block or a transformer layer over at most `rows` tokens.
struct AttentionBuffers {
  AttentionBuffers(int queries, int keys, int width, Arena& arena);
  std::span<float> q, k, v, mixed;  // [rows, width]
};
struct LayerBuffers {
  LayerBuffers(int rows, int width, int intermediate, Arena& arena);
  AttentionBuffers attention;
  std::span<float> normed, out;  // [rows, width]
  std::span<float> hidden;       // [rows, intermediate]
};

// y [queries, width] = attention of x to context, without residual and in one thread
void attention(const Workspace& w, const AttentionWeights& weights, int heads, const float* x, int queries,
               const float* context, int keys, AttentionBuffers& buffers, float* y);

// y [rows, width] = down(norm(relu(up(x))^2)); hidden [rows, intermediate]
void feed_forward(const Workspace& w, const FeedForwardWeights& weights, const float* x, int rows, float* hidden,
                  float* y);

// x [rows, width] in place: pre-norm attention among all rows, then the feed-forward.
void encoder_layer(const Workspace& w, const EncoderLayerWeights& weights, int heads, int rows, const RotaryTable* rope,
                   LayerBuffers& buffers, float* x);

}  // namespace bitmar
