#include "memory/episodic_memory.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <string>

#include "io/error.h"
#include "memory/episode.h"
#include "runtime/elementary.h"

namespace bitmar {

EpisodicMemory::EpisodicMemory(const Settings& settings, const Kernels& kernels, Arena& arena)
    : settings_(settings), kernels_(kernels), index_(settings.slots, settings.width, kernels, arena) {
  values_ = arena.take<float>(Purpose::memory_slots, static_cast<std::size_t>(settings.slots) * settings.width);
  slots_ = arena.take<Episode>(Purpose::memory_slots, settings.slots);
  changed_ = arena.take<std::uint64_t>(Purpose::memory_slots, settings.slots);
  found_ = arena.take<Match>(Purpose::scratch, settings.slots);
  weights_ = arena.take<float>(Purpose::scratch, settings.slots);
  blended_ = arena.take<float>(Purpose::scratch, settings.width);
}

int EpisodicMemory::find(std::uint64_t id) const {
  if (id == 0) return -1;
  const auto used = slots_.first(index_.end());
  const auto it = std::find_if(used.begin(), used.end(), [id](const Episode& e) { return e.id == id; });
  return it == used.end() ? -1 : static_cast<int>(it - used.begin());
}

// ---- Reading ----

bool EpisodicMemory::read(std::span<const float> query, std::span<float> out, int without) {
  const auto all = found_.first(index_.within(query, settings_.read_threshold, found_));
  const auto rest = std::ranges::remove(all, without, &Match::slot);
  const int count = read_ = static_cast<int>(all.size() - rest.size());
  if (count == 0) return false;
  for (int j = 0; j < count; ++j) weights_[j] = found_[j].similarity / settings_.temperature;
  kernels_.softmax(weights_.data(), count);
  std::fill(out.begin(), out.end(), 0.0f);
  for (int j = 0; j < count; ++j) kernels_.axpy(weights_[j], value_data(found_[j].slot), settings_.width, out.data());
  return true;
}

int EpisodicMemory::recall(std::span<const float> query, std::span<Match> out, float least) {
  check_vector(query, "a query");
  return index_.nearest(query, out, least);
}

void EpisodicMemory::touch(int slot, double now_ms) {
  check_slot(slot);
  check_time(now_ms);
  check_room(1);
  if (slots_[slot].uses < std::numeric_limits<std::uint32_t>::max()) ++slots_[slot].uses;
  slots_[slot].last_used_ms = now_ms;
  change(slot);
}

std::optional<EpisodicMemory::Recognised> EpisodicMemory::recognise(std::span<const float> query) const {
  constexpr double kTemperature = 0.05;
  check_vector(query, "a query");
  std::map<std::string_view, std::array<double, 3>> labels;  // evidence of the best examples, best first
  for (int i = 0; i < index_.end(); ++i) {
    if (slots_[i].label_length == 0) continue;
    double evidence = natural_exp((index_.similarity(query, i) - settings_.recall_threshold) / kTemperature);
    for (double& best : labels[slots_[i].label()]) {
      if (evidence > best) std::swap(evidence, best);
    }
  }
  double total = 1, most = 0;
  std::string_view name;
  for (const auto& [label, examples] : labels) {
    const double evidence = examples[0] + examples[1] + examples[2];
    total += evidence;
    if (evidence > most) {
      most = evidence;
      name = label;
    }
  }
  if (most < total / 2) return std::nullopt;
  return Recognised{std::string(name), static_cast<float>(most / total)};
}

Match EpisodicMemory::best_match(std::span<const float> query) {
  Match best{.similarity = -1};
  recall(query, {&best, 1});
  return best;
}

// ---- Writing ----

int EpisodicMemory::free_slot() const {
  if (size_ == index_.end()) return size_ < capacity() ? size_ : -1;
  return static_cast<int>(std::find_if(slots_.begin(), slots_.end(), [](const Episode& e) { return e.id == 0; }) -
                          slots_.begin());
}

int EpisodicMemory::weakest(double now_ms) const {
  constexpr double kHour = 3600e3;
  int weakest = -1;
  double least = 0;
  bool labelled = true;
  for (int i = 0; i < index_.end(); ++i) {
    const Episode& e = slots_[i];
    if (e.id == 0) continue;
    const double idle = std::max(0.0, now_ms - e.last_used_ms) / kHour;
    const double worth = e.strength * (1.0 + e.uses) / (1.0 + idle);
    const bool has_label = e.label_length > 0;
    if (weakest < 0 || (labelled && !has_label) || (labelled == has_label && worth < least)) {
      weakest = i;
      least = worth;
      labelled = has_label;
    }
  }
  return weakest;
}

void EpisodicMemory::place(int i, std::span<const float> key, std::span<const float> value) {
  index_.put(i, key);
  std::copy(value.begin(), value.end(), value_data(i));
  if (!occupied(i)) ++size_;
}

// A new episode, in a free slot or the weakest one's.
EpisodicMemory::Written EpisodicMemory::store(std::span<const float> key, std::span<const float> value, double now_ms) {
  if (next_id_ >= Episode::kMaxId) throw Error(ErrorCode::invalid_state, "the memory has given every id there is");
  const int free = free_slot();
  const int i = free >= 0 ? free : weakest(now_ms);
  const Written written{.slot = i,
                        .id = next_id_++,
                        .outcome = free >= 0 ? Outcome::added : Outcome::replaced,
                        .replaced_id = slots_[i].id};
  place(i, key, value);
  slots_[i] = {.id = written.id, .created_ms = now_ms, .last_used_ms = now_ms, .strength = 1};
  change(i);
  return written;
}

// Key and value of a slot x <- keep * x + take * y, then to unit length.
void EpisodicMemory::move(int i, float keep, float take, std::span<const float> key, std::span<const float> value) {
  const int n = settings_.width;
  const auto blend = [&](std::span<float> x, std::span<const float> y) {
    for (int j = 0; j < n; ++j) x[j] = keep * x[j] + take * y[j];
    const float length = std::max(std::sqrt(kernels_.dot(x.data(), x.data(), n)), 1e-6f);
    for (int j = 0; j < n; ++j) x[j] /= length;
  };
  std::ranges::copy(this->key(i), blended_.begin());
  blend(blended_, key);
  index_.put(i, blended_);
  blend({value_data(i), static_cast<std::size_t>(n)}, value);
  change(i);
}

void EpisodicMemory::strengthen(int i, std::span<const float> key, std::span<const float> value, double now_ms) {
  move(i, 1 - settings_.alpha, settings_.alpha, key, value);
  slots_[i].strength += 1;
  slots_[i].last_used_ms = now_ms;
}

EpisodicMemory::Written EpisodicMemory::write(std::span<const float> key, std::span<const float> value, double now_ms) {
  check_vector(key, "a key");
  check_vector(value, "a value");
  check_time(now_ms);
  check_room(capacity() + 1);
  return settings_.policy == Policy::gated ? write_gated(key, value, now_ms) : write_additive(key, value, now_ms);
}

EpisodicMemory::Written EpisodicMemory::write_gated(std::span<const float> key, std::span<const float> value,
                                                    double now_ms) {
  const Match best = best_match(key);
  if (best.slot >= 0 && best.similarity >= settings_.novelty_threshold) {
    strengthen(best.slot, key, value, now_ms);
    return {best.slot, slots_[best.slot].id, Outcome::blended, best.similarity};
  }
  Written written = store(key, value, now_ms);
  written.similarity = best.similarity;
  return written;
}

EpisodicMemory::Written EpisodicMemory::write_additive(std::span<const float> key, std::span<const float> value,
                                                       double now_ms) {
  const Match best = best_match(key);
  if (size_ < capacity()) {
    Written written = store(key, value, now_ms);
    written.similarity = best.similarity;
    return written;
  }
  for (int i = 0; i < capacity(); ++i) weights_[i] = index_.similarity(key, i) / settings_.temperature;
  kernels_.softmax(weights_.data(), capacity());
  for (int i = 0; i < capacity(); ++i) move(i, 1, settings_.alpha * weights_[i], key, value);
  slots_[best.slot].last_used_ms = now_ms;
  return {best.slot, slots_[best.slot].id, Outcome::blended, best.similarity};
}

EpisodicMemory::Written EpisodicMemory::teach(std::span<const float> key, std::span<const float> value,
                                              std::string_view label, double now_ms) {
  check_vector(key, "a key");
  check_vector(value, "a value");
  check_time(now_ms);
  check_label(label);
  check_room(1);
  if (label.empty()) throw Error(ErrorCode::invalid_argument, "there is no label to teach");
  const Match nearest = best_match(key);
  Match example{.similarity = -1};
  for (int i = 0; i < index_.end(); ++i) {
    if (slots_[i].label() != label) continue;
    const Match match{i, index_.similarity(key, i)};
    if (example.slot < 0 || better(match, example)) example = match;
  }
  if (nearest.slot >= 0 && slots_[nearest.slot].label_length == 0 && example.similarity < settings_.novelty_threshold) {
    example = nearest;
  }
  Written written{.slot = example.slot, .outcome = Outcome::blended};
  if (example.slot >= 0 && example.similarity >= settings_.novelty_threshold) {
    written.id = slots_[example.slot].id;
    strengthen(example.slot, key, value, now_ms);
  } else {
    written = store(key, value, now_ms);
  }
  slots_[written.slot].set_label(label);
  written.similarity = nearest.similarity;
  return written;
}

void EpisodicMemory::set_label(int slot, std::string_view label) {
  check_slot(slot);
  check_label(label);
  check_room(1);
  slots_[slot].set_label(label);
  change(slot);
}

void EpisodicMemory::forget(int slot) {
  check_slot(slot);
  check_room(1);
  vacate(slot);
}

// Forgotten is gone, not only out of reach.
void EpisodicMemory::erase(int slot) {
  index_.erase(slot);
  std::fill_n(value_data(slot), settings_.width, 0.0f);
  slots_[slot] = {};
}

void EpisodicMemory::vacate(int slot) {
  erase(slot);
  --size_;
  change(slot);
}

void EpisodicMemory::forget_all() {
  check_room(1);
  vacate_all();
}

void EpisodicMemory::vacate_all() {
  for (int i = 0; i < index_.end(); ++i) {
    if (occupied(i)) erase(i);
  }
  index_.clear();
  size_ = 0;
  cleared_ = ++sequence_;
}

void EpisodicMemory::restore(int slot, const Episode& episode, std::span<const float> key,
                             std::span<const float> value) {
  if (slot < 0 || slot >= capacity() || !fits(episode, key, value)) {
    throw Error(ErrorCode::invalid_argument, "this is no episode of this memory");
  }
  check_room(1);
  put_back(slot, episode, key, value);
}

void EpisodicMemory::restore(const Episode& episode, std::span<const float> key, std::span<const float> value) {
  const int slot = free_slot();
  if (slot < 0 || find(episode.id) >= 0) {
    throw Error(ErrorCode::invalid_argument, slot < 0 ? "there is no free slot" : "an episode has this id already");
  }
  restore(slot, episode, key, value);
}

void EpisodicMemory::put_back(int slot, const Episode& episode, std::span<const float> key,
                              std::span<const float> value) {
  place(slot, key, value);
  slots_[slot] = episode;
  next_id_ = std::max(next_id_, episode.id + 1);
  change(slot);
}

// ---- Checks ----

// Whether such an episode could have been written here.
bool EpisodicMemory::fits(const Episode& episode, std::span<const float> key, std::span<const float> value) const {
  try {
    check_vector(key, "a key");
    check_vector(value, "a value");
  } catch (const Error&) {
    return false;
  }
  return is_sound(episode);
}

// Every state that the memory comes to must be one that can be saved and read.
void EpisodicMemory::check_room(std::uint64_t changes) const {
  if (changes > Episode::kMaxId - sequence_) {
    throw Error(ErrorCode::invalid_state, "the memory has counted as many changes as it can");
  }
}

void EpisodicMemory::check_slot(int slot) const {
  if (slot < 0 || slot >= capacity() || !occupied(slot)) {
    throw Error(ErrorCode::invalid_argument, "memory slot " + std::to_string(slot) + " holds nothing");
  }
}

void EpisodicMemory::check_vector(std::span<const float> v, const char* what) const {
  const int n = settings_.width;
  if (v.size() != static_cast<std::size_t>(n)) {
    throw Error(ErrorCode::invalid_argument, std::string(what) + " of this memory has " + std::to_string(n) +
                                                 " numbers, not " + std::to_string(v.size()));
  }
  // False as well of what is not a number.
  if (!(kernels_.dot(v.data(), v.data(), n) <= Index::kLongest * Index::kLongest)) {
    throw Error(ErrorCode::invalid_argument, std::string(what) + " is longer than a unit vector");
  }
}

}  // namespace bitmar
