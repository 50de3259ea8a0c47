// Saved memories: a snapshot and the frames of its journal, each behind two bytes of its length; loaded, or the
// snapshot imported, by a memory alone or by an engine, which grows. Whatever was let in can be saved and loaded again,
// and is the same then, also in a larger memory and, but for what has no room, in a smaller one.
#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include "../unit/tiny_model.h"
#include "fuzz.h"
#include "io/crc32.h"
#include "memory/episodic_memory.h"

namespace bitmar {
namespace {

constexpr int kWidth = 16, kSlots = 4;  // the tiny model's width

struct Owned {
  explicit Owned(int slots) {
    const EpisodicMemory::Settings settings{.slots = slots, .width = kWidth};
    Arena measured;
    EpisodicMemory(settings, scalar_kernels(), measured);
    measured.commit();
    memory.emplace(settings, scalar_kernels(), measured);
    arena = std::move(measured);
  }
  Arena arena;
  std::optional<EpisodicMemory> memory;
};

// With a width and checksums that fit, so that a change is not always noticed by them: of the header, and of whole
// records.
void mend(std::vector<std::uint8_t>& state) {
  const auto put = [&](std::size_t at, std::uint32_t sum) {
    for (int i = 0; i < 4; ++i) state[at + static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(sum >> 8 * i);
  };
  const auto part = [&](std::size_t at, std::size_t size) { return ByteSpan(state).subspan(at, size); };
  if (state.size() < 60) return;
  put(8, kWidth);
  put(12, crc32(part(0, 12)));
  const std::size_t freed = little32(state, 48);
  if (freed > (state.size() - 60) / 4) return;
  put(56, crc32(part(60, 4 * freed), crc32(part(16, 40))));
  constexpr std::size_t kRecord = 4 * 4 + 3 * 8 + Episode::kMaxLabel + 1 + 8 * kWidth + 4;
  for (std::size_t at = 60 + 4 * freed; state.size() - at >= kRecord; at += kRecord) {
    put(at + kRecord - 4, crc32(part(at, kRecord - 4)));
  }
}

// What it holds can be saved, and comes back in a memory of other sizes.
void check(EpisodicMemory& memory, int most_slots) {
  require(memory.size() <= memory.capacity() && memory.capacity() <= most_slots);
  const std::vector<float> vector(kWidth, 0.25f);
  memory.write(vector, vector, 1);
  memory.teach(vector, vector, "a mug", 2);
  const auto saved = memory.snapshot();
  for (const int slots : {memory.capacity(), memory.capacity() + 3, 2}) {
    Owned other(slots);
    const auto report = other.memory->load(ByteSpan(saved), {});
    require(report.dropped_slots == 0 && report.loaded == std::min(memory.size(), slots));
    require(report.left_out == memory.size() - report.loaded);
    if (slots == memory.capacity()) require(other.memory->snapshot() == saved);
    const auto smaller = other.memory->snapshot();
    Owned again(slots);
    require(again.memory->load(ByteSpan(smaller), {}).loaded == report.loaded);
    require(again.memory->snapshot() == smaller);
  }
}

}  // namespace

void fuzz(Input input) {
  const std::uint8_t how = take(input);
  const bool forged = how & 1, imports = how & 2, shrinks = how & 4,
             by_engine = (how & 24) == 24;  // seldom: loading one is slow
  std::vector<std::vector<std::uint8_t>> parts;
  while (input.size() > 2 && parts.size() < 8) {
    const std::size_t first = take(input), size = std::min<std::size_t>(first << 8 | take(input), input.size());
    parts.emplace_back(input.begin(), input.begin() + static_cast<std::ptrdiff_t>(size));
    if (forged) mend(parts.back());
    input = input.subspan(size);
  }
  if (parts.empty()) return;
  const std::vector<ByteSpan> frames(parts.begin() + 1, parts.end());
  if (by_engine) {
    static const ModelDirectory tiny = read_model_directory(tiny_folder());
    const auto engine = Engine::load(files_of(tiny), {}, scalar_kernels());
    if (engine->memory().capacity() != kSlots) engine->resize_memory(kSlots);
    if (imports) {
      const auto report = engine->adopt_memory(parts[0], shrinks);
      require(report.dropped_slots == 0 && (shrinks || report.left_out == 0));
      engine->load_memory(std::nullopt, frames, shrinks);
    } else {
      const auto report = engine->load_memory(ByteSpan(parts[0]), frames, shrinks);
      require(shrinks || report.left_out == 0);
    }
    // A snapshot of many slots makes every step slow here.
    if (engine->memory().capacity() <= 64) check(engine->memory(), shrinks ? kSlots : 64);
    return;
  }
  Owned loaded(kSlots);
  EpisodicMemory& memory = *loaded.memory;
  if (imports) {
    memory.adopt(ByteSpan(parts[0]));
  } else {
    memory.load(ByteSpan(parts[0]), frames);
  }
  memory.load(std::nullopt, frames);  // on top, of a load a second time
  check(memory, kSlots);
}

}  // namespace bitmar
