// Keys and values of a stream: S attention sinks that are never evicted, then a ring of the last W
// positions (StreamingLLM, arXiv 2309.17453). Memory is constant however long the stream.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/kernels.h"
#include "runtime/arena.h"
#include "runtime/rotary.h"

namespace bitmar {

struct KvShape {
  int layers = 0;
  int heads = 0, head = 0;
  int sinks = 0, window = 0;  // S, W
  double rope_theta = 10000;
  bool int8 = false;  // rows as int8 with a scale a head: a quarter of the memory

  int rows() const { return sinks + window; }
  int width() const { return heads * head; }
};

// Keys or values of one layer. One of the two is null.
struct KvRows {
  const float* floats = nullptr;       // [rows, width]
  const std::int8_t* bytes = nullptr;  // [rows, width], with
  const float* scales = nullptr;       // [rows, heads]
};

// Positions inside the cache are indices 0 .. S+W-1. Only differences of positions matter between
// rotated queries and keys, so a window key keeps the rotation of its place in the stream, and once
// the window slides the S sink keys alone are rotated anew each step, to sit right before it.
class KvCache {
 public:
  KvCache(const KvShape& shape, const Kernels& kernels, Arena& arena);

  void start();    // forget everything; the next token is the first
  void advance();  // after start(): the first token; otherwise one more. Call before put().
  long long position() const { return position_; }

  // A place in the stream, to come back to and go on from in other ways, each of at most so many tokens. Where they
  // make the window slide, it holds a copy of all rows.
  struct Mark {
    long long position;
    int size, own_row;
    RotaryPhase now, sink;
    std::vector<float> floats;  // keys, then values
    std::vector<std::int8_t> bytes;
  };
  Mark mark(int longest) const;
  void rewind(const Mark& mark);

  // The rows that the current token attends to, its own included, in storage order. [n <= S+W]
  std::span<const int> rows() const { return {all_rows_.data(), static_cast<std::size_t>(size_)}; }
  int own_row() const { return own_row_; }

  // Rotates a query of the current position in place. q [width]
  void turn_query(float* q) const;
  // Stores the current position's key (rotating it) and value of one layer. k, v [width]
  void put(int layer, const float* k, const float* v) { put(layer, own_row_, k, v); }
  // For several continuations of one stream (beam search): the same, into a row of the caller's choice.
  // Such a stream must end before S+W rows are used.
  void put(int layer, int row, const float* k, const float* v);

  KvRows keys(int layer) const { return keys_.layer(shape_, layer); }
  KvRows values(int layer) const { return values_.layer(shape_, layer); }

 private:
  struct Store {
    Store(const KvShape& shape, Arena& arena);
    KvRows layer(const KvShape& shape, int layer) const;
    // x [width]
    void put(const KvShape& shape, const Kernels& kernels, int layer, int row, const float* x);

    std::span<float> floats;       // [layers, S+W, width], or
    std::span<std::int8_t> bytes;  // [layers, S+W, width], with
    std::span<float> scales;       // [layers, S+W, heads]
  };
  float* sink_key(int layer, int sink) const {
    return sink_keys_.data() + static_cast<std::size_t>((layer * shape_.sinks + sink) * shape_.width());
  }
  void place_sinks();

  KvShape shape_;
  const Kernels& kernels_;
  Store keys_, values_;         // keys are rotated
  std::span<float> turned_;     // [width]
  std::span<float> sink_keys_;  // [layers, S, width], as projected
  std::span<float> cos_, sin_;  // [head / 2] of the current position
  std::span<float> sink_cos_, sink_sin_;
  std::span<int> all_rows_;  // 0 .. S+W-1
  RotaryPhase now_, sink_, index_;
  long long position_ = -1;
  int size_ = 0, own_row_ = 0;
};

}  // namespace bitmar
