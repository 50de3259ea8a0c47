// Episodic memory: a fixed number of slots, read by similarity, written through a novelty gate.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "bitmar/memory.h"
#include "kernels/kernels.h"
#include "memory/index.h"
#include "memory/state.h"
#include "runtime/arena.h"

namespace bitmar {

// Keys and values are vectors of the memory's width C, at most of unit length. Nothing here depends on when or where
// it runs.
class EpisodicMemory {
 public:
  static constexpr int kMaxSlots = MemoryStateReader::kMaxSlots;

  using Policy = WritePolicy;
  using Outcome = WriteOutcome;
  using Written = bitmar::Written;
  using Recognised = bitmar::Recognised;
  using LoadReport = bitmar::LoadReport;

  struct Settings {
    int slots = 0, width = 0;        // K, C
    float temperature = 0.1f;        // of the softmax over similarities
    float alpha = 0.2f;              // share of a new episode in what it is blended into
    float novelty_threshold = 0.9f;  // the similarity from which an episode counts as known
    float read_threshold = -1;       // the similarity from which a slot takes part in read()
    float recall_threshold = 0.85f;  // the similarity at which one example of a label is as likely right as wrong
    Policy policy = Policy::gated;
  };

  EpisodicMemory(const Settings& settings, const Kernels& kernels, Arena& arena);

  const Settings& settings() const { return settings_; }
  void set_policy(Policy policy) { settings_.policy = policy; }
  int capacity() const { return settings_.slots; }
  int size() const { return size_; }
  // Counts the changes: every one of them has a number of its own.
  std::uint64_t sequence() const { return sequence_; }
  bool occupied(int slot) const { return slots_[slot].id != 0; }
  const Episode& slot(int i) const { return slots_[i]; }
  std::span<const float> key(int i) const { return index_.key(i); }
  std::span<const float> value(int i) const { return values_.subspan(at(i), settings_.width); }
  // The slot of an episode; -1 when it is gone.
  int find(std::uint64_t id) const;

  // ---- Reading ----

  // out [C] = sum over the slots of at least read_threshold of softmax(query . key / temperature) value; false when
  // there is none. Changes no statistics. `without`: a slot that is passed over; -1: none.
  bool read(std::span<const float> query, std::span<float> out, int without = -1);
  // The slots that the last read() was made of, in their order, and the share of each; the shares sum to 1. Valid until
  // the memory is read, written or changed again.
  std::span<const Match> slots_read() const { return found_.first(read_); }
  std::span<const float> shares_read() const { return weights_.first(read_); }

  // The most similar slots of at least `least`, best first, the lower slot first among equals; returns how many of
  // `out` were filled. Exact: as if every similarity had been computed.
  int recall(std::span<const float> query, std::span<Match> out, float least = -2);
  // A recall that the caller made use of: counts, and keeps the slot from growing stale.
  void touch(int slot, double now_ms);

  // The label that the query shows. Of every label the best three examples count, each by e^((similarity -
  // recall_threshold) / 0.05); the score is the best label's share in the sum over all labels and 1, which stands for
  // none of them. Nothing below a score of 0.5.
  std::optional<Recognised> recognise(std::span<const float> query) const;

  // ---- Writing ----

  // By the policy.
  Written write(std::span<const float> key, std::span<const float> value, double now_ms);
  // One more example of `label` (1 to kMaxLabel bytes): strengthens the most similar example if that is known, or
  // names a known episode that has no label, or is written as a new episode.
  Written teach(std::span<const float> key, std::span<const float> value, std::string_view label, double now_ms);

  // Which slot a new episode would replace: least strength * (1 + uses) / (1 + hours since last use), labelled slots
  // only when all are labelled. -1 when all are free.
  int weakest(double now_ms) const;

  void set_label(int slot, std::string_view label);  // empty: none. Throws text_too_long, invalid_text
  void forget(int slot);
  void forget_all();
  // Puts an episode in a slot as it was. Throws invalid_argument unless it could have been written here.
  void restore(int slot, const Episode& episode, std::span<const float> key, std::span<const float> value);
  // In a free slot. Throws invalid_argument as well where there is none, or the id is taken.
  void restore(const Episode& episode, std::span<const float> key, std::span<const float> value);

  // ---- State: a snapshot, and frames of what changed since, one building on the other ----

  std::vector<std::uint8_t> snapshot() const;
  // What changed after the change number `since`: a frame whose size goes with the number of those slots; empty when
  // nothing did. Throws invalid_argument of a number that is to come.
  std::vector<std::uint8_t> changes_since(std::uint64_t since) const;

  // The memory as it was: a snapshot, then the frames that build on it and on each other; those that it holds already
  // are passed over. A frame counts although one before it is missing: each holds whole slots. Without a snapshot the
  // frames build on what is there, without a gap, unless nothing was ever there. A snapshot of another number of slots
  // is taken in, which may count as a change. Throws invalid_state and unsupported_state, and then nothing has changed.
  LoadReport load(std::optional<ByteSpan> snapshot, std::span<const ByteSpan> frames);
  // Whether load() then builds on what is there.
  bool follows(std::optional<ByteSpan> snapshot) const { return !snapshot && sequence_ > 0; }
  // The episodes of a snapshot instead of those that are there, as one more change. It comes from outside: unless every
  // byte is sound and leaves room for as many changes again, it throws invalid_state, and then nothing has changed.
  LoadReport adopt(ByteSpan snapshot);

  // Both in two steps, for the memory to be made large enough in between: what was read is any memory's to take in that
  // has its width. Where each slot's last record is, in bytes that are the caller's and must live as long.
  struct Saved {
    struct Place {
      int reader = -1, index = 0;  // none: free
      int clearing = 0;            // put there after so many clearings; one more frees it
      Episode episode;
    };
    std::vector<MemoryStateReader> readers;
    std::vector<Place> slots;
    std::uint64_t sequence = 0, next_id = 1;
    int dropped_slots = 0, dropped_frames = 0, gaps = 0;
    // Room to take them in: nothing may fail once the memory is empty.
    std::vector<int> taken;
    MemoryRecord record;

    int capacity() const { return static_cast<int>(slots.size()); }
    int episodes() const;
  };
  // Throw as load() and adopt() do.
  Saved read_state(std::optional<ByteSpan> snapshot, std::span<const ByteSpan> frames) const;
  Saved read_import(ByteSpan snapshot) const;
  LoadReport load(Saved saved) { return take(saved, std::nullopt); }
  LoadReport adopt(Saved saved) { return take(saved, sequence_ + 1); }
  // What load() would read of any memory, whatever its width, as one snapshot. Throws as load() does.
  static std::vector<std::uint8_t> merged(std::optional<ByteSpan> snapshot, std::span<const ByteSpan> frames,
                                          const Kernels& kernels);
  // An empty memory counts on from where another was whose place it takes.
  void continue_from(std::uint64_t sequence, std::uint64_t next_id);
  std::uint64_t next_id() const { return next_id_; }

 private:
  std::size_t at(int i) const { return static_cast<std::size_t>(i) * settings_.width; }
  float* value_data(int i) { return values_.data() + at(i); }
  Match best_match(std::span<const float> query);
  int free_slot() const;
  Written store(std::span<const float> key, std::span<const float> value, double now_ms);
  void place(int i, std::span<const float> key, std::span<const float> value);
  void strengthen(int i, std::span<const float> key, std::span<const float> value, double now_ms);
  void move(int i, float keep, float take, std::span<const float> key, std::span<const float> value);
  Written write_gated(std::span<const float> key, std::span<const float> value, double now_ms);
  Written write_additive(std::span<const float> key, std::span<const float> value, double now_ms);
  void change(int i) { changed_[i] = ++sequence_; }
  void erase(int slot);
  void vacate(int slot);
  void vacate_all();
  void put_back(int slot, const Episode& episode, std::span<const float> key, std::span<const float> value);
  bool fits(const Episode& episode, std::span<const float> key, std::span<const float> value) const;
  bool read_record(const MemoryStateReader& reader, int index, MemoryRecord& record) const;
  std::optional<MemoryStateReader> read_frame(ByteSpan bytes) const;
  LoadReport take(Saved& saved, std::optional<std::uint64_t> as);
  LoadReport follow(std::span<const ByteSpan> frames);
  void check_room(std::uint64_t changes) const;
  void check_slot(int slot) const;
  void check_vector(std::span<const float> v, const char* what) const;

  Settings settings_;
  const Kernels& kernels_;
  Index index_;                       // the keys
  std::span<float> values_;           // [K, C]
  std::span<Episode> slots_;          // [K]
  std::span<std::uint64_t> changed_;  // [K], the number of each slot's last change
  std::span<Match> found_;            // [K], of one read
  std::span<float> weights_;          // [K], of one read or write
  std::span<float> blended_;          // [C], of one write
  int size_ = 0;                      // occupied slots
  int read_ = 0;                      // slots of the last read
  std::uint64_t next_id_ = 1, sequence_ = 0;
  std::uint64_t cleared_ = 0;  // the number of the change that emptied the memory
};

}  // namespace bitmar
