#include "runtime/kv_cache.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

namespace bitmar {

namespace {

std::size_t size(auto... n) { return (static_cast<std::size_t>(n) * ...); }

}  // namespace

KvCache::Store::Store(const KvShape& s, Arena& arena) {
  const std::size_t rows = size(s.layers, s.rows());
  if (s.int8) {
    bytes = arena.take<std::int8_t>(Purpose::kv_cache, size(rows, s.width()));
    scales = arena.take<float>(Purpose::kv_cache, size(rows, s.heads));
  } else {
    floats = arena.take<float>(Purpose::kv_cache, size(rows, s.width()));
  }
}

KvRows KvCache::Store::layer(const KvShape& s, int layer) const {
  const std::size_t row = size(layer, s.rows());
  if (s.int8) return {.bytes = bytes.data() + size(row, s.width()), .scales = scales.data() + size(row, s.heads)};
  return {.floats = floats.data() + size(row, s.width())};
}

void KvCache::Store::put(const KvShape& s, const Kernels& kernels, int layer, int row, const float* x) {
  const std::size_t at = size(layer, s.rows()) + size(row);
  if (!s.int8) {
    std::copy_n(x, size(s.width()), floats.data() + size(at, s.width()));
    return;
  }
  for (int h = 0; h < s.heads; ++h, x += s.head) {
    std::int8_t* to = bytes.data() + size(at, s.width()) + size(h, s.head);
    scales[size(at, s.heads) + size(h)] = kernels.quantize_row(x, s.head, to);
  }
}

KvCache::KvCache(const KvShape& shape, const Kernels& kernels, Arena& arena)
    : shape_(shape),
      kernels_(kernels),
      keys_(shape, arena),
      values_(shape, arena),
      now_(shape.head, shape.rope_theta),
      sink_(now_),
      index_(now_) {
  const auto take = [&](std::size_t n) { return arena.take<float>(Purpose::kv_cache, n); };
  turned_ = take(size(shape.width()));
  sink_keys_ = take(size(shape.layers, shape.sinks, shape.width()));
  for (auto* table : {&cos_, &sin_, &sink_cos_, &sink_sin_}) *table = take(size(shape.head / 2));
  all_rows_ = arena.take<int>(Purpose::kv_cache, size(shape.rows()));
  if (all_rows_.data()) std::iota(all_rows_.begin(), all_rows_.end(), 0);
}

void KvCache::start() {
  position_ = -1;
  size_ = 0;
  now_.start();
  sink_.start();
}

KvCache::Mark KvCache::mark(int longest) const {
  Mark mark{position_, size_, own_row_, now_, sink_, {}, {}};
  // From S+W on every position takes the row of an earlier one, and the sinks move.
  if (position_ + longest < shape_.rows()) return mark;
  for (const Store* store : {&keys_, &values_}) {
    for (const auto part : {store->floats, store->scales})
      mark.floats.insert(mark.floats.end(), part.begin(), part.end());
    mark.bytes.insert(mark.bytes.end(), store->bytes.begin(), store->bytes.end());
  }
  return mark;
}

void KvCache::rewind(const Mark& mark) {
  position_ = mark.position;
  size_ = mark.size;
  own_row_ = mark.own_row;
  now_ = mark.now;
  sink_ = mark.sink;
  if (mark.floats.empty()) return;
  auto floats = mark.floats.begin();
  auto bytes = mark.bytes.begin();
  for (Store* store : {&keys_, &values_}) {
    for (const auto part : {store->floats, store->scales}) {
      std::copy_n(floats, part.size(), part.begin());
      floats += static_cast<std::ptrdiff_t>(part.size());
    }
    std::copy_n(bytes, store->bytes.size(), store->bytes.begin());
    bytes += static_cast<std::ptrdiff_t>(store->bytes.size());
  }
}

void KvCache::advance() {
  ++position_;
  if (position_ > 0) now_.advance();
  now_.write(cos_.data(), sin_.data());
  if (position_ < shape_.rows()) {
    own_row_ = static_cast<int>(position_);
    size_ = own_row_ + 1;
    return;
  }
  own_row_ = shape_.sinks + static_cast<int>((position_ - shape_.sinks) % shape_.window);
  sink_.advance();  // the sinks follow the window: one step behind its oldest position
  place_sinks();
}

// Sink i has cache index i, the newest position has S+W-1, and sink_ is at position - (S+W-1).
void KvCache::place_sinks() {
  index_.start();
  for (int i = 0; i < shape_.sinks; ++i) {
    sink_.write_sum(index_, sink_cos_.data(), sink_sin_.data());
    for (int layer = 0; layer < shape_.layers; ++layer) {
      rotate(sink_key(layer, i), shape_.heads, shape_.head, sink_cos_.data(), sink_sin_.data(), turned_.data());
      keys_.put(shape_, kernels_, layer, i, turned_.data());
    }
    index_.advance();
  }
}

void KvCache::turn_query(float* q) const { rotate(q, shape_.heads, shape_.head, cos_.data(), sin_.data()); }

void KvCache::put(int layer, int row, const float* k, const float* v) {
  const auto width = static_cast<std::size_t>(shape_.width());
  if (row < shape_.sinks) std::copy_n(k, width, sink_key(layer, row));
  rotate(k, shape_.heads, shape_.head, cos_.data(), sin_.data(), turned_.data());
  keys_.put(shape_, kernels_, layer, row, turned_.data());
  values_.put(shape_, kernels_, layer, row, v);
}

}  // namespace bitmar
