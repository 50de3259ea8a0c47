#include "memory/index.h"

#include <algorithm>
#include <cmath>

namespace bitmar {

bool better(const Match& a, const Match& b) {
  return a.similarity > b.similarity || (a.similarity == b.similarity && a.slot < b.slot);
}

Index::Index(int slots, int width, const Kernels& kernels, Arena& arena) : width_(width), kernels_(kernels) {
  const std::size_t numbers = static_cast<std::size_t>(slots) * width;
  keys_ = arena.take<float>(Purpose::memory_slots, numbers);
  codes_ = arena.take<std::int8_t>(Purpose::memory_slots, numbers);
  scales_ = arena.take<float>(Purpose::memory_slots, slots);
  rests_ = arena.take<float>(Purpose::memory_slots, slots);
  bounds_ = arena.take<float>(Purpose::scratch, slots);
  difference_ = arena.take<float>(Purpose::scratch, width);
  query_ = arena.take<std::int8_t>(Purpose::scratch, width);
}

// ---- Keys ----

// v [C] ~ scale * codes, the difference no longer than `rest`. Returns the scale.
float Index::quantise(std::span<const float> v, std::int8_t* codes, float& rest) {
  const float scale = kernels_.quantize_row(v.data(), width_, codes);
  for (int j = 0; j < width_; ++j) difference_[j] = v[j] - scale * static_cast<float>(codes[j]);
  rest = 1.0001f * std::sqrt(kernels_.dot(difference_.data(), difference_.data(), width_)) + 1e-6f;
  return scale;
}

void Index::put(int slot, std::span<const float> key) {
  std::copy(key.begin(), key.end(), keys_.data() + at(slot));
  scales_[slot] = quantise(this->key(slot), codes_.data() + at(slot), rests_[slot]);
  end_ = std::max(end_, slot + 1);
}

void Index::erase(int slot) {
  std::fill_n(keys_.data() + at(slot), width_, 0.0f);
  std::fill_n(codes_.data() + at(slot), width_, std::int8_t{0});
  scales_[slot] = 0;
}

void Index::clear() {
  // Not all of it: a journal may clear an almost empty memory thousands of times.
  for (int i = 0; i < end_; ++i) {
    if (holds(i)) erase(i);
  }
  end_ = 0;
}

// ---- Searching ----

float Index::similarity(std::span<const float> query, int slot) const {
  return kernels_.dot(query.data(), key(slot).data(), width_);
}

// Leaves in bounds_ what no similarity to the query is above. Returns what at least best.size() of them reach, or
// `least` if that is more; `best` is room to work in.
float Index::scan(std::span<const float> query, std::span<Match> best, float least) {
  constexpr int kChunk = 1024;
  std::int32_t dots[kChunk];
  float lower[kChunk];
  float query_rest;
  const float query_scale = quantise(query, query_.data(), query_rest);
  // |q k - q'k'| <= |q - q'| |k| + |q'| |k - k'|, and the rounding of the exact product's float sums.
  const float own = query_rest * kLongest + 1.2e-7f * static_cast<float>(width_) + 1e-6f;
  const float slope = 1.0001f * (kLongest + query_rest);
  std::size_t found = 0;
  for (int begin = 0; begin < end_; begin += kChunk) {
    const int n = std::min(kChunk, end_ - begin);
    kernels_.int8_gemm(codes_.data() + at(begin), query_.data(), 1, n, width_, dots);
    const float *scales = scales_.data() + begin, *rests = rests_.data() + begin;
    float* upper = bounds_.data() + begin;
    for (int j = 0; j < n; ++j) {
      const float about = static_cast<float>(dots[j]) * (query_scale * scales[j]);
      const float slack = own + slope * rests[j];
      upper[j] = about + slack;
      lower[j] = about - slack;
    }
    if (best.empty()) continue;
    for (int j = 0; j < n; ++j) {
      if (lower[j] <= least || scales[j] == 0) continue;
      if (found == best.size()) std::pop_heap(best.begin(), best.end(), better), --found;
      best[found++] = {begin + j, lower[j]};
      std::push_heap(best.begin(), best.begin() + static_cast<std::ptrdiff_t>(found), better);
      if (found == best.size()) least = std::max(least, best.front().similarity);
    }
  }
  return least;
}

int Index::nearest(std::span<const float> query, std::span<Match> out, float least) {
  if (out.empty()) return 0;
  float enough = scan(query, out, least);
  std::size_t found = 0;
  for (int i = 0; i < end_; ++i) {
    if (bounds_[i] < enough || !holds(i)) continue;
    const Match match{i, similarity(query, i)};
    if (match.similarity < least) continue;
    if (found == out.size()) {
      if (!better(match, out.front())) continue;
      std::pop_heap(out.begin(), out.end(), better);
      --found;
    }
    out[found++] = match;
    std::push_heap(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(found), better);
    if (found == out.size()) enough = std::max(enough, out.front().similarity);
  }
  std::sort_heap(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(found), better);
  return static_cast<int>(found);
}

int Index::within(std::span<const float> query, float least, std::span<Match> out) {
  const bool all = least <= -1;  // as near as anything can be: bounds would rule out nothing
  if (!all) scan(query, {}, least);
  int found = 0;
  for (int i = 0; i < end_; ++i) {
    if (!holds(i) || (!all && bounds_[i] < least)) continue;
    const Match match{i, similarity(query, i)};
    if (all || match.similarity >= least) out[found++] = match;
  }
  return found;
}

}  // namespace bitmar
