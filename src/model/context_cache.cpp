#include "model/context_cache.h"

#include <algorithm>

#include "io/error.h"

namespace bitmar {

Context ContextCache::Entry::context() const {
  return {id, picture, fused.first(static_cast<std::size_t>(size) * static_cast<std::size_t>(width)), query, value};
}

ContextCache::ContextCache(int most_tokens, int width, int memory_width, Arena& arena) {
  const std::size_t most = most_tokens, d = width, c = memory_width;
  for (Entry& entry : entries_) {
    entry.width = width;
    entry.tokens = arena.take<int>(Purpose::activations, most);
    for (auto* rows : {&entry.states, &entry.fused}) *rows = arena.take<float>(Purpose::activations, most * d);
    for (auto* vector : {&entry.query, &entry.value}) *vector = arena.take<float>(Purpose::activations, c);
  }
}

const ContextCache::Entry* ContextCache::find(std::uint64_t picture, std::span<const int> tokens) {
  for (int i = 0; i < kContexts; ++i) {
    const Entry& entry = entries_[i];
    if (entry.id == 0 || entry.picture != picture || !std::ranges::equal(entry.prompt(), tokens)) continue;
    used_[i] = ++now_;
    return &entry;
  }
  return nullptr;
}

ContextCache::Room ContextCache::make(std::uint64_t picture, std::span<const int> tokens) {
  const auto alike = std::ranges::find_if(
      entries_, [&](const Entry& entry) { return entry.id != 0 && std::ranges::equal(entry.prompt(), tokens); });
  const auto oldest = std::ranges::min_element(used_) - used_.begin();
  Entry& entry = entries_[oldest];
  const bool encoded = alike != entries_.end();
  if (encoded && &*alike != &entry) {
    const std::size_t used = static_cast<std::size_t>(alike->size) * static_cast<std::size_t>(alike->width);
    std::copy_n(alike->states.begin(), used, entry.states.begin());
  }
  entry.id = 0;
  entry.picture = picture;
  entry.size = static_cast<int>(tokens.size());
  std::ranges::copy(tokens, entry.tokens.begin());
  return {entry, encoded};
}

const ContextCache::Entry& ContextCache::finish(Entry& entry) {
  entry.id = ++made_;
  used_[&entry - entries_.data()] = ++now_;
  return entry;
}

void ContextCache::check(const Context& context) const {
  const bool here =
      std::ranges::any_of(entries_, [&](const Entry& entry) { return entry.id != 0 && entry.id == context.id; });
  if (!here) throw Error(ErrorCode::invalid_argument, "this context was replaced by later ones");
}

void ContextCache::forget() {
  for (Entry& entry : entries_) entry.id = 0;
}

}  // namespace bitmar
