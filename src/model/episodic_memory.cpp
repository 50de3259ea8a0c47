#include "model/episodic_memory.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <string>

#include "io/error.h"
#include "io/unicode.h"
#include "runtime/elementary.h"

namespace bitmar {

namespace {

using Match = EpisodicMemory::Match;

constexpr float kLongest = 1.001f;  // a unit vector, and its rounding

// Also the order of a heap whose front is the worst.
bool better(const Match& a, const Match& b) {
  return a.similarity > b.similarity || (a.similarity == b.similarity && a.slot < b.slot);
}

void check_time(double ms) {
  if (!(std::abs(ms) <= Episode::kMaxTime)) {
    throw Error(ErrorCode::invalid_argument, "a time must be a number of milliseconds within the calendar");
  }
}

}  // namespace

EpisodicMemory::EpisodicMemory(const Settings& settings, const Kernels& kernels, Arena& arena)
    : settings_(settings), kernels_(kernels) {
  const std::size_t floats = static_cast<std::size_t>(settings.slots) * settings.width;
  keys_ = arena.take<float>(Purpose::memory_slots, floats);
  values_ = arena.take<float>(Purpose::memory_slots, floats);
  slots_ = arena.take<Episode>(Purpose::memory_slots, settings.slots);
  codes_ = arena.take<std::int8_t>(Purpose::memory_slots, floats);
  scales_ = arena.take<float>(Purpose::memory_slots, settings.slots);
  rests_ = arena.take<float>(Purpose::memory_slots, settings.slots);
  changed_ = arena.take<std::uint64_t>(Purpose::memory_slots, settings.slots);
  scores_ = arena.take<float>(Purpose::scratch, settings.slots);
  difference_ = arena.take<float>(Purpose::scratch, settings.width);
  query_ = arena.take<std::int8_t>(Purpose::scratch, settings.width);
  found_ = arena.take<int>(Purpose::scratch, settings.slots);
}

int EpisodicMemory::find(std::uint64_t id) const {
  if (id == 0) return -1;
  const auto used = slots_.first(end_);
  const auto it = std::find_if(used.begin(), used.end(), [id](const Episode& e) { return e.id == id; });
  return it == used.end() ? -1 : static_cast<int>(it - used.begin());
}

float EpisodicMemory::similarity(std::span<const float> query, int i) const {
  return kernels_.dot(query.data(), key(i).data(), settings_.width);
}

// ---- Searching: bounds from int8 copies of the keys rule out nearly every slot, the rest is computed exactly ----

// v [C] ~ scale * codes, the difference no longer than `rest`. Returns the scale.
float EpisodicMemory::quantise(std::span<const float> v, std::int8_t* codes, float& rest) {
  const int n = settings_.width;
  const float scale = kernels_.quantize_row(v.data(), n, codes);
  for (int j = 0; j < n; ++j) difference_[j] = v[j] - scale * static_cast<float>(codes[j]);
  rest = 1.0001f * std::sqrt(kernels_.dot(difference_.data(), difference_.data(), n)) + 1e-6f;
  return scale;
}

void EpisodicMemory::index(int i) { scales_[i] = quantise(key(i), codes_.data() + at(i), rests_[i]); }

// Leaves in scores_ what no similarity to the query is above. Returns what at least best.size() of them reach, or
// `least` if that is more; `best` is room to work in.
float EpisodicMemory::scan(std::span<const float> query, std::span<Match> best, float least) {
  constexpr int kChunk = 1024;
  std::int32_t dots[kChunk];
  float lower[kChunk];
  float query_rest;
  const float query_scale = quantise(query, query_.data(), query_rest);
  // |q k - q'k'| <= |q - q'| |k| + |q'| |k - k'|, and the rounding of the exact product's float sums.
  const float own = query_rest * kLongest + 1.2e-7f * static_cast<float>(settings_.width) + 1e-6f;
  const float slope = 1.0001f * (kLongest + query_rest);
  std::size_t found = 0;
  for (int begin = 0; begin < end_; begin += kChunk) {
    const int n = std::min(kChunk, end_ - begin);
    kernels_.int8_gemm(codes_.data() + at(begin), query_.data(), 1, n, settings_.width, dots);
    const float *scales = scales_.data() + begin, *rests = rests_.data() + begin;
    float* upper = scores_.data() + begin;
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
      best[found++] = {begin + j, 0, lower[j]};
      std::push_heap(best.begin(), best.begin() + static_cast<std::ptrdiff_t>(found), better);
      if (found == best.size()) least = std::max(least, best.front().similarity);
    }
  }
  return least;
}

// ---- Reading ----

bool EpisodicMemory::read(std::span<const float> query, std::span<float> out) {
  const bool all = settings_.read_threshold <= -1;
  if (!all) scan(query, {}, settings_.read_threshold);
  int count = 0;
  for (int i = 0; i < end_; ++i) {
    if (scales_[i] == 0 || (!all && scores_[i] < settings_.read_threshold)) continue;
    const float s = similarity(query, i);
    if (!all && s < settings_.read_threshold) continue;
    scores_[count] = s / settings_.temperature;
    found_[count++] = i;
  }
  if (count == 0) return false;
  kernels_.softmax(scores_.data(), count);
  std::fill(out.begin(), out.end(), 0.0f);
  for (int j = 0; j < count; ++j) kernels_.axpy(scores_[j], value_data(found_[j]), settings_.width, out.data());
  return true;
}

int EpisodicMemory::recall(std::span<const float> query, std::span<Match> out, float least) {
  check_vector(query, "a query");
  if (out.empty()) return 0;
  float enough = scan(query, out, least);
  std::size_t found = 0;
  for (int i = 0; i < end_; ++i) {
    if (scores_[i] < enough || scales_[i] == 0) continue;
    const Match match{i, slots_[i].id, similarity(query, i)};
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
  for (int i = 0; i < end_; ++i) {
    if (slots_[i].label_length == 0) continue;
    double evidence = natural_exp((similarity(query, i) - settings_.recall_threshold) / kTemperature);
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

EpisodicMemory::Match EpisodicMemory::best_match(std::span<const float> query) {
  Match best{.similarity = -1};
  recall(query, {&best, 1});
  return best;
}

// ---- Writing ----

int EpisodicMemory::free_slot() const {
  if (size_ == end_) return end_ < capacity() ? end_ : -1;
  return static_cast<int>(std::find_if(slots_.begin(), slots_.end(), [](const Episode& e) { return e.id == 0; }) -
                          slots_.begin());
}

int EpisodicMemory::weakest(double now_ms) const {
  constexpr double kHour = 3600e3;
  int weakest = -1;
  double least = 0;
  bool labelled = true;
  for (int i = 0; i < end_; ++i) {
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

// Key and value of a slot, and all that follows from them.
void EpisodicMemory::place(int i, std::span<const float> key, std::span<const float> value) {
  std::copy(key.begin(), key.end(), key_data(i));
  std::copy(value.begin(), value.end(), value_data(i));
  index(i);
  if (!occupied(i)) ++size_;
  end_ = std::max(end_, i + 1);
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

// x <- keep * x + take * y, then to unit length, of the key and of the value
void EpisodicMemory::move(int i, float keep, float take, std::span<const float> key, std::span<const float> value) {
  const int n = settings_.width;
  const auto blend = [&](float* x, std::span<const float> y) {
    for (int j = 0; j < n; ++j) x[j] = keep * x[j] + take * y[j];
    const float length = std::max(std::sqrt(kernels_.dot(x, x, n)), 1e-6f);
    for (int j = 0; j < n; ++j) x[j] /= length;
  };
  blend(key_data(i), key);
  blend(value_data(i), value);
  index(i);
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
    return {best.slot, best.id, Outcome::blended, best.similarity};
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
  for (int i = 0; i < capacity(); ++i) scores_[i] = similarity(key, i) / settings_.temperature;
  kernels_.softmax(scores_.data(), capacity());
  for (int i = 0; i < capacity(); ++i) move(i, 1, settings_.alpha * scores_[i], key, value);
  slots_[best.slot].last_used_ms = now_ms;
  return {best.slot, best.id, Outcome::blended, best.similarity};
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
  for (int i = 0; i < end_; ++i) {
    if (slots_[i].label() != label) continue;
    const Match match{i, slots_[i].id, similarity(key, i)};
    if (example.slot < 0 || better(match, example)) example = match;
  }
  if (nearest.slot >= 0 && slots_[nearest.slot].label_length == 0 && example.similarity < settings_.novelty_threshold) {
    example = nearest;
  }
  Written written{example.slot, example.id, Outcome::blended};
  if (example.slot >= 0 && example.similarity >= settings_.novelty_threshold) {
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
  std::fill_n(key_data(slot), settings_.width, 0.0f);
  std::fill_n(value_data(slot), settings_.width, 0.0f);
  std::fill_n(codes_.data() + at(slot), settings_.width, std::int8_t{0});
  scales_[slot] = 0;
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
  // Not all of the memory: a journal may clear an almost empty one thousands of times.
  for (int i = 0; i < end_; ++i) {
    if (occupied(i)) erase(i);
  }
  size_ = end_ = 0;
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

void EpisodicMemory::check_label(std::string_view label) {
  if (label.size() > Episode::kMaxLabel) {
    throw Error(ErrorCode::text_too_long, "a label has at most " + std::to_string(Episode::kMaxLabel) + " bytes");
  }
  check_utf8(label);
}

// Whether such an episode could have been written here.
bool EpisodicMemory::fits(const Episode& e, std::span<const float> key, std::span<const float> value) const {
  try {
    check_vector(key, "a key");
    check_vector(value, "a value");
    check_label(e.label());
    check_time(e.created_ms);
    check_time(e.last_used_ms);
  } catch (const Error&) {
    return false;
  }
  return e.id >= 1 && e.id < Episode::kMaxId && e.strength >= 0 && std::isfinite(e.strength);
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
  if (!(kernels_.dot(v.data(), v.data(), n) <= kLongest * kLongest)) {
    throw Error(ErrorCode::invalid_argument, std::string(what) + " is longer than a unit vector");
  }
}

}  // namespace bitmar
