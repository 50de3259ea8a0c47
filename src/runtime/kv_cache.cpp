#include "runtime/kv_cache.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

namespace bitmar {

KvCache::KvCache(const KvShape& shape, Arena& arena)
    : shape_(shape), now_(shape.head, shape.rope_theta), sink_(now_), index_(now_) {
  const auto size = [](auto... n) { return (static_cast<std::size_t>(n) * ...); };
  const auto take = [&](std::size_t n) { return arena.take<float>(Purpose::kv_cache, n); };
  keys_ = take(size(shape.layers, shape.rows(), shape.width()));
  values_ = take(keys_.size());
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
      rotate(sink_key(layer, i), shape_.heads, shape_.head, sink_cos_.data(), sink_sin_.data(),
             keys_.data() + offset(layer, i));
    }
    index_.advance();
  }
}

void KvCache::turn_query(float* q) const { rotate(q, shape_.heads, shape_.head, cos_.data(), sin_.data()); }

void KvCache::put(int layer, int row, const float* k, const float* v) {
  const auto width = static_cast<std::size_t>(shape_.width());
  if (row < shape_.sinks) std::copy_n(k, width, sink_key(layer, row));
  rotate(k, shape_.heads, shape_.head, cos_.data(), sin_.data(), keys_.data() + offset(layer, row));
  std::copy_n(v, width, values_.data() + offset(layer, row));
}

}  // namespace bitmar
