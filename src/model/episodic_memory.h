// Episodic memory: a fixed number of slots, read by similarity, written through a novelty gate.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/kernels.h"
#include "runtime/arena.h"

namespace bitmar {

// Keys and values are unit vectors of the memory's width C; times are the caller's clock, in
// milliseconds, so that nothing here depends on when or where it runs.
class EpisodicMemory {
 public:
  struct Settings {
    int slots = 0, width = 0;        // K, C
    float temperature = 0.1f;        // of the softmax over similarities
    float alpha = 0.2f;              // share of a new episode in what it is blended into
    float novelty_threshold = 0.9f;  // the similarity from which an episode counts as known
  };
  static constexpr int kMaxLabel = 63;  // bytes

  struct Slot {
    double created_ms = 0, last_used_ms = 0;
    std::uint32_t uses = 0;
    float strength = 0;  // 1 when written, 1 more each time the same is met again
    bool occupied = false;
    std::uint8_t label_length = 0;
    char label_bytes[kMaxLabel + 1] = {};

    std::string_view label() const { return {label_bytes, label_length}; }
  };

  EpisodicMemory(const Settings& settings, Arena& arena);

  const Settings& settings() const { return settings_; }
  int capacity() const { return settings_.slots; }
  int size() const;
  const Slot& slot(int i) const { return slots_[i]; }
  std::span<const float> key(int i) const { return keys_.subspan(i * settings_.width, settings_.width); }
  std::span<const float> value(int i) const { return values_.subspan(i * settings_.width, settings_.width); }

  // out [C] = sum over occupied slots of softmax(query . key / temperature) value; false when there is none.
  // Changes no statistics.
  bool read(const Kernels& kernels, std::span<const float> query, std::span<float> out);

  struct Match {
    int slot = -1;
    float similarity = 0;
  };
  // The most similar slots, best first; returns how many of `out` were filled.
  int recall(const Kernels& kernels, std::span<const float> query, std::span<Match> out) const;
  // A recall that the caller made use of: counts, and keeps the slot from growing stale.
  void touch(int slot, double now_ms);

  enum class Outcome { blended, added, replaced };
  struct Written {
    int slot;
    Outcome outcome;
    float similarity;  // to the best match before writing; -1 when there was none
  };
  // Known (similarity >= novelty_threshold): blended into the match, which is strengthened. Otherwise a
  // free slot, or the weakest one's place.
  Written write(const Kernels& kernels, std::span<const float> key, std::span<const float> value, double now_ms);
  // The paper's rule, M <- M + alpha w q^T with w the read weights: every slot moves towards the episode
  // by its share. Free slots are filled first, since w over empty slots would make them all alike.
  Written write_additive(const Kernels& kernels, std::span<const float> key, std::span<const float> value,
                         double now_ms);

  // Which slot a new episode would replace: least strength * (1 + uses) / (1 + hours since last use),
  // labelled slots only when all are labelled.
  int weakest(double now_ms) const;

  void set_label(int slot, std::string_view label);  // at most kMaxLabel bytes
  void forget(int slot);
  void forget_all();
  // For import: puts a slot back as it was.
  void restore(int i, const Slot& slot, std::span<const float> key, std::span<const float> value);

 private:
  float* key_data(int i) { return keys_.data() + i * settings_.width; }
  float* value_data(int i) { return values_.data() + i * settings_.width; }
  float similarity(const Kernels& kernels, std::span<const float> query, int i) const;
  Match best_match(const Kernels& kernels, std::span<const float> query) const;
  int free_slot() const;
  void store(int i, std::span<const float> key, std::span<const float> value, double now_ms);
  void check(int slot) const;

  Settings settings_;
  std::span<float> keys_, values_;  // [K, C]
  std::span<Slot> slots_;           // [K]
  std::span<float> weights_;        // [K], of one read
  std::span<int> occupied_;         // [K], of one read
};

}  // namespace bitmar
