#include "model/episodic_memory.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "io/error.h"

namespace bitmar {

namespace {

// x <- keep * x + take * y, then to unit length
void blend(const Kernels& kernels, float keep, float take, std::span<const float> y, float* x) {
  const int n = static_cast<int>(y.size());
  for (int i = 0; i < n; ++i) x[i] = keep * x[i] + take * y[i];
  const float length = std::max(std::sqrt(kernels.dot(x, x, n)), 1e-6f);
  for (int i = 0; i < n; ++i) x[i] /= length;
}

}  // namespace

EpisodicMemory::EpisodicMemory(const Settings& settings, Arena& arena) : settings_(settings) {
  const std::size_t floats = static_cast<std::size_t>(settings.slots) * settings.width;
  keys_ = arena.take<float>(Purpose::memory_slots, floats);
  values_ = arena.take<float>(Purpose::memory_slots, floats);
  slots_ = arena.take<Slot>(Purpose::memory_slots, settings.slots);
  weights_ = arena.take<float>(Purpose::scratch, settings.slots);
  occupied_ = arena.take<int>(Purpose::scratch, settings.slots);
}

int EpisodicMemory::size() const {
  return static_cast<int>(std::count_if(slots_.begin(), slots_.end(), [](const Slot& s) { return s.occupied; }));
}

float EpisodicMemory::similarity(const Kernels& kernels, std::span<const float> query, int i) const {
  return kernels.dot(query.data(), key(i).data(), settings_.width);
}

bool EpisodicMemory::read(const Kernels& kernels, std::span<const float> query, std::span<float> out) {
  int count = 0;
  for (int i = 0; i < capacity(); ++i) {
    if (!slots_[i].occupied) continue;
    weights_[count] = similarity(kernels, query, i) / settings_.temperature;
    occupied_[count++] = i;
  }
  if (count == 0) return false;
  kernels.softmax(weights_.data(), count);
  std::fill(out.begin(), out.end(), 0.0f);
  for (int j = 0; j < count; ++j) kernels.axpy(weights_[j], value_data(occupied_[j]), settings_.width, out.data());
  return true;
}

int EpisodicMemory::recall(const Kernels& kernels, std::span<const float> query, std::span<Match> out) const {
  std::size_t found = 0;
  for (int i = 0; i < capacity(); ++i) {
    if (!slots_[i].occupied) continue;
    const Match match{i, similarity(kernels, query, i)};
    std::size_t at = found;
    if (found < out.size()) {
      ++found;
    } else if (found == 0 || out[--at].similarity >= match.similarity) {
      continue;
    }
    for (; at > 0 && out[at - 1].similarity < match.similarity; --at) out[at] = out[at - 1];
    out[at] = match;
  }
  return static_cast<int>(found);
}

void EpisodicMemory::touch(int slot, double now_ms) {
  check(slot);
  ++slots_[slot].uses;
  slots_[slot].last_used_ms = now_ms;
}

EpisodicMemory::Match EpisodicMemory::best_match(const Kernels& kernels, std::span<const float> query) const {
  Match best{-1, -1};
  recall(kernels, query, {&best, 1});
  return best;
}

int EpisodicMemory::free_slot() const {
  const auto it = std::find_if(slots_.begin(), slots_.end(), [](const Slot& s) { return !s.occupied; });
  return it == slots_.end() ? -1 : static_cast<int>(it - slots_.begin());
}

int EpisodicMemory::weakest(double now_ms) const {
  constexpr double kHour = 3600e3;
  int weakest = -1;
  double least = 0;
  bool labelled = true;
  for (int i = 0; i < capacity(); ++i) {
    const Slot& s = slots_[i];
    if (!s.occupied) continue;
    const double idle = std::max(0.0, now_ms - s.last_used_ms) / kHour;
    const double worth = s.strength * (1.0 + s.uses) / (1.0 + idle);
    const bool has_label = s.label_length > 0;
    if (weakest < 0 || (labelled && !has_label) || (labelled == has_label && worth < least)) {
      weakest = i;
      least = worth;
      labelled = has_label;
    }
  }
  return weakest;
}

void EpisodicMemory::store(int i, std::span<const float> key, std::span<const float> value, double now_ms) {
  std::copy(key.begin(), key.end(), key_data(i));
  std::copy(value.begin(), value.end(), value_data(i));
  slots_[i] = Slot{.created_ms = now_ms, .last_used_ms = now_ms, .strength = 1, .occupied = true};
}

EpisodicMemory::Written EpisodicMemory::write(const Kernels& kernels, std::span<const float> key,
                                              std::span<const float> value, double now_ms) {
  const Match best = best_match(kernels, key);
  if (best.slot >= 0 && best.similarity >= settings_.novelty_threshold) {
    blend(kernels, 1 - settings_.alpha, settings_.alpha, key, key_data(best.slot));
    blend(kernels, 1 - settings_.alpha, settings_.alpha, value, value_data(best.slot));
    Slot& s = slots_[best.slot];
    s.strength += 1;
    s.last_used_ms = now_ms;
    return {best.slot, Outcome::blended, best.similarity};
  }
  const int free = free_slot();
  const int slot = free >= 0 ? free : weakest(now_ms);
  store(slot, key, value, now_ms);
  return {slot, free >= 0 ? Outcome::added : Outcome::replaced, best.similarity};
}

EpisodicMemory::Written EpisodicMemory::write_additive(const Kernels& kernels, std::span<const float> key,
                                                       std::span<const float> value, double now_ms) {
  const Match best = best_match(kernels, key);
  if (const int free = free_slot(); free >= 0) {
    store(free, key, value, now_ms);
    return {free, Outcome::added, best.similarity};
  }
  for (int i = 0; i < capacity(); ++i) weights_[i] = similarity(kernels, key, i) / settings_.temperature;
  kernels.softmax(weights_.data(), capacity());
  for (int i = 0; i < capacity(); ++i) {
    blend(kernels, 1, settings_.alpha * weights_[i], key, key_data(i));
    blend(kernels, 1, settings_.alpha * weights_[i], value, value_data(i));
  }
  slots_[best.slot].last_used_ms = now_ms;
  return {best.slot, Outcome::blended, best.similarity};
}

void EpisodicMemory::check(int slot) const {
  if (slot < 0 || slot >= capacity() || !slots_[slot].occupied) {
    throw Error(ErrorCode::invalid_argument, "memory slot " + std::to_string(slot) + " holds nothing");
  }
}

void EpisodicMemory::set_label(int slot, std::string_view label) {
  check(slot);
  if (label.size() > kMaxLabel) {
    throw Error(ErrorCode::text_too_long, "a label has at most " + std::to_string(kMaxLabel) + " bytes");
  }
  std::copy(label.begin(), label.end(), slots_[slot].label_bytes);
  slots_[slot].label_length = static_cast<std::uint8_t>(label.size());
}

void EpisodicMemory::forget(int slot) {
  check(slot);
  slots_[slot] = Slot{};
}

void EpisodicMemory::forget_all() { std::fill(slots_.begin(), slots_.end(), Slot{}); }

void EpisodicMemory::restore(int i, const Slot& slot, std::span<const float> key, std::span<const float> value) {
  const std::size_t width = settings_.width;
  const auto finite = [](std::span<const float> v) {
    return std::all_of(v.begin(), v.end(), [](float x) { return std::isfinite(x); });
  };
  if (i < 0 || i >= capacity() || key.size() != width || value.size() != width || !finite(key) || !finite(value) ||
      slot.label_length > kMaxLabel) {
    throw Error(ErrorCode::invalid_argument, "this is no slot of this memory");
  }
  std::copy(key.begin(), key.end(), key_data(i));
  std::copy(value.begin(), value.end(), value_data(i));
  slots_[i] = slot;
}

}  // namespace bitmar
