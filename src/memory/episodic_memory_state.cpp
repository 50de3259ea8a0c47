// The memory to bytes and back; state.h has the format.
#include <algorithm>
#include <cmath>
#include <string>
#include <tuple>
#include <utility>

#include "io/error.h"
#include "io/heap_sort.h"
#include "memory/episodic_memory.h"

namespace bitmar {

// ---- To bytes ----

std::vector<std::uint8_t> EpisodicMemory::snapshot() const {
  MemoryStateWriter writer(
      {.width = settings_.width, .slots = capacity(), .sequence = sequence_, .next_id = next_id_, .cleared = true},
      size_);
  for (int i = 0; i < index_.end(); ++i) {
    if (occupied(i)) writer.add(i, slots_[i], key(i), value(i));
  }
  return writer.take();
}

std::vector<std::uint8_t> EpisodicMemory::changes_since(std::uint64_t since) const {
  if (since > sequence_) {
    throw Error(ErrorCode::invalid_argument,
                "the memory is at change " + std::to_string(sequence_) + ", not yet at " + std::to_string(since));
  }
  if (since == sequence_) return {};
  MemoryStateHeader header{.width = settings_.width,
                           .slots = capacity(),
                           .base = since,
                           .sequence = sequence_,
                           .next_id = next_id_,
                           .cleared = cleared_ > since};
  const auto goes_in = [&](int i) { return (header.cleared || changed_[i] > since) && occupied(i); };
  int records = 0;
  for (int i = 0; i < index_.end(); ++i) {
    if (goes_in(i)) ++records;
    if (!header.cleared && changed_[i] > since && !occupied(i)) header.freed.push_back(i);
  }
  MemoryStateWriter writer(header, records);
  for (int i = 0; i < index_.end(); ++i) {
    if (goes_in(i)) writer.add(i, slots_[i], key(i), value(i));
  }
  return writer.take();
}

// ---- And back ----

int EpisodicMemory::Saved::episodes() const {
  return static_cast<int>(std::count_if(slots.begin(), slots.end(), [](const Place& p) { return p.reader >= 0; }));
}

// False of what could not have been written here. Earlier versions took any finite time, also one that no calendar has.
bool EpisodicMemory::read_record(const MemoryStateReader& reader, int index, MemoryRecord& record) const {
  if (!reader.read(index, record)) return false;
  for (double* ms : {&record.episode.created_ms, &record.episode.last_used_ms}) {
    if (std::isfinite(*ms)) *ms = std::clamp(*ms, -Episode::kMaxTime, Episode::kMaxTime);
  }
  return fits(record.episode, record.key, record.value);
}

EpisodicMemory::Saved EpisodicMemory::read_state(std::optional<ByteSpan> snapshot,
                                                 std::span<const ByteSpan> frames) const {
  Saved saved;
  MemoryRecord record;
  int clearings = 0;
  const auto add = [&](const MemoryStateReader& reader) {
    saved.readers.push_back(reader);
    const MemoryStateHeader& h = reader.header();
    if (saved.slots.size() < static_cast<std::size_t>(h.slots)) saved.slots.resize(h.slots);
    saved.sequence = h.sequence;
    saved.next_id = std::max(saved.next_id, h.next_id);
  };
  const auto put = [&](int index) {
    saved.slots[record.slot] = {static_cast<int>(saved.readers.size()) - 1, index, clearings, record.episode};
  };
  if (snapshot) {
    add(MemoryStateReader(*snapshot, settings_.width));
    for (int i = 0; i < saved.readers[0].records(); ++i) {
      if (read_record(saved.readers[0], i, record) && saved.slots[record.slot].reader < 0) {
        put(i);
      } else {
        ++saved.dropped_slots;
      }
    }
  }
  for (const ByteSpan bytes : frames) {
    const std::optional<MemoryStateReader> reader = read_frame(bytes);
    if (!reader) {
      ++saved.dropped_frames;
      continue;
    }
    if (reader->header().sequence <= saved.sequence) continue;
    if (reader->header().base > saved.sequence) ++saved.gaps;
    add(*reader);
    // Counted, not done: a frame of sixty bytes may clear 65,536 slots, and a journal has many.
    if (reader->header().cleared) ++clearings;
    for (const std::uint32_t slot : reader->header().freed) saved.slots[slot] = {};
    for (int i = 0; i < reader->records(); ++i) {
      read_record(*reader, i, record);
      put(i);
    }
  }
  for (Saved::Place& place : saved.slots) {
    if (place.clearing < clearings) place = {};
  }
  saved.taken.reserve(saved.slots.size());
  saved.record.key.reserve(settings_.width);
  saved.record.value.reserve(settings_.width);
  return saved;
}

// A snapshot of which every byte is as some memory wrote it.
EpisodicMemory::Saved EpisodicMemory::read_import(ByteSpan snapshot) const {
  // No memory counts so far; one that began there would soon come to what cannot be saved.
  constexpr std::uint64_t kMost = Episode::kMaxId / 2;
  check_room(1);
  Saved saved = read_state(snapshot, {});
  const MemoryStateReader& reader = saved.readers[0];
  const MemoryStateHeader& h = reader.header();
  bool sound = reader.exact() && saved.dropped_slots == 0 && h.cleared && h.freed.empty() && h.sequence <= kMost &&
               h.next_id <= kMost;
  std::vector<std::uint64_t> ids;
  MemoryRecord record;
  for (int i = 0; sound && i < reader.records(); ++i) {
    sound = reader.read(i, record) && fits(record.episode, record.key, record.value) && record.episode.id < h.next_id;
    ids.push_back(record.episode.id);
  }
  heap_sort(ids);
  if (!sound || std::adjacent_find(ids.begin(), ids.end()) != ids.end()) {
    throw Error(ErrorCode::invalid_state, "the memory to import is damaged");
  }
  return saved;
}

std::vector<std::uint8_t> EpisodicMemory::merged(std::optional<ByteSpan> snapshot, std::span<const ByteSpan> frames,
                                                 const Kernels& kernels) {
  if (!snapshot && frames.empty()) throw Error(ErrorCode::invalid_state, "nothing was saved");
  const auto with_slots = [&](int slots, const auto& use) {
    const Settings settings{.slots = slots, .width = MemoryStateReader::width_of(snapshot ? *snapshot : frames[0])};
    Arena arena;
    EpisodicMemory(settings, kernels, arena);
    arena.commit();
    EpisodicMemory memory(settings, kernels, arena);
    return use(memory);
  };
  // As large as what is there, not as what its header claims.
  const int episodes =
      with_slots(1, [&](const EpisodicMemory& memory) { return memory.read_state(snapshot, frames).episodes(); });
  return with_slots(std::max(episodes, 1), [&](EpisodicMemory& memory) {
    memory.load(snapshot, frames);
    return memory.snapshot();
  });
}

void EpisodicMemory::continue_from(std::uint64_t sequence, std::uint64_t next_id) {
  sequence_ = std::max(sequence_, sequence);
  next_id_ = std::max(next_id_, next_id);
  cleared_ = sequence_;
}

// Nothing of a damaged frame: one write is kept as a whole or not at all.
std::optional<MemoryStateReader> EpisodicMemory::read_frame(ByteSpan bytes) const {
  try {
    MemoryStateReader reader(bytes, settings_.width);
    MemoryRecord record;
    for (int i = 0; i < reader.records(); ++i) {
      if (!read_record(reader, i, record)) return std::nullopt;
    }
    return reader;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::invalid_state) throw;
    return std::nullopt;
  }
}

EpisodicMemory::LoadReport EpisodicMemory::load(std::optional<ByteSpan> snapshot, std::span<const ByteSpan> frames) {
  return follows(snapshot) ? follow(frames) : load(read_state(snapshot, frames));
}

EpisodicMemory::LoadReport EpisodicMemory::adopt(ByteSpan snapshot) { return adopt(read_import(snapshot)); }

// The saved episodes instead of those that are there, as change number `as`, or the saved one.
EpisodicMemory::LoadReport EpisodicMemory::take(Saved& saved, std::optional<std::uint64_t> as) {
  std::vector<int>& from = saved.taken;  // the saved slots with something in them
  for (std::size_t i = 0; i < saved.slots.size(); ++i) {
    if (saved.slots[i].reader >= 0) from.push_back(static_cast<int>(i));
  }
  // Two episodes with one id: the first stays.
  const auto id = [&](int i) { return saved.slots[i].episode.id; };
  heap_sort(from, [&](int a, int b) { return std::pair(id(a), a) < std::pair(id(b), b); });
  const auto twice = std::unique(from.begin(), from.end(), [&](int a, int b) { return id(a) == id(b); });
  saved.dropped_slots += static_cast<int>(from.end() - twice);
  from.erase(twice, from.end());
  // More than there is room for: labelled ones stay first, then the strongest, then the last used.
  int left_out = 0;
  if (from.size() > static_cast<std::size_t>(capacity())) {
    const auto worth = [&](int i) {
      const Episode& e = saved.slots[i].episode;
      return std::tuple(e.label_length > 0, e.strength * (1.0 + e.uses), e.last_used_ms, e.id);
    };
    heap_sort(from, [&](int a, int b) { return worth(a) > worth(b); });
    left_out = static_cast<int>(from.size()) - capacity();
    from.resize(capacity());
  }
  heap_sort(from);
  const bool moves = !from.empty() && from.back() >= capacity();

  vacate_all();
  MemoryRecord& record = saved.record;
  int to = 0;
  for (const int i : from) {
    read_record(saved.readers[saved.slots[i].reader], saved.slots[i].index, record);
    put_back(moves ? to++ : i, record.episode, record.key, record.value);
  }
  next_id_ = std::max(next_id_, saved.next_id);
  const bool changes = (moves || left_out > 0) && saved.sequence < Episode::kMaxId;
  sequence_ = as.value_or(saved.sequence + (changes ? 1 : 0));
  cleared_ = sequence_;
  std::fill(changed_.begin(), changed_.end(), sequence_);
  return {static_cast<int>(from.size()), saved.dropped_slots, saved.dropped_frames, saved.gaps, left_out, sequence_};
}

// Frames on top of what is there.
EpisodicMemory::LoadReport EpisodicMemory::follow(std::span<const ByteSpan> frames) {
  LoadReport report;
  MemoryRecord record;
  // A frame is taken in whole.
  record.key.reserve(settings_.width);
  record.value.reserve(settings_.width);
  for (const ByteSpan bytes : frames) {
    const std::optional<MemoryStateReader> reader = read_frame(bytes);
    if (!reader || reader->header().base > sequence_ || reader->header().slots > capacity()) {
      ++report.dropped_frames;
      continue;
    }
    const MemoryStateHeader& h = reader->header();
    if (h.sequence <= sequence_) continue;
    if (h.cleared) vacate_all();
    for (const std::uint32_t slot : h.freed) {
      if (occupied(static_cast<int>(slot))) vacate(static_cast<int>(slot));
      changed_[slot] = h.sequence;
    }
    for (int i = 0; i < reader->records(); ++i) {
      read_record(*reader, i, record);
      put_back(record.slot, record.episode, record.key, record.value);
      changed_[record.slot] = h.sequence;
      ++report.loaded;
    }
    if (h.cleared) cleared_ = h.sequence;
    next_id_ = std::max(next_id_, h.next_id);
    sequence_ = h.sequence;
  }
  report.sequence = sequence_;
  return report;
}

}  // namespace bitmar
