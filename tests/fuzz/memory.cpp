// Saved memories: a snapshot and the frames of its journal, each behind two bytes of its length. Whatever was loaded can
// be saved and loaded again, and is the same then.
#include <algorithm>
#include <optional>
#include <vector>

#include "fuzz.h"
#include "io/crc32.h"
#include "model/episodic_memory.h"

namespace bitmar {
namespace {

constexpr int kWidth = 4, kSlots = 4;

struct Memory {
  Memory() {
    const EpisodicMemory::Settings settings{.slots = kSlots, .width = kWidth};
    Arena measured;
    EpisodicMemory(settings, scalar_kernels(), measured);
    measured.commit();
    memory.emplace(settings, scalar_kernels(), measured);
    arena = std::move(measured);
  }
  Arena arena;
  std::optional<EpisodicMemory> memory;
};

// With checksums that fit, so that a change is not always noticed by them: of the header, and of whole records.
void mend(std::vector<std::uint8_t>& state) {
  const auto put = [&](std::size_t at, std::uint32_t sum) {
    for (int i = 0; i < 4; ++i) state[at + static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(sum >> 8 * i);
  };
  const auto part = [&](std::size_t at, std::size_t size) { return ByteSpan(state).subspan(at, size); };
  if (state.size() < 60) return;
  put(12, crc32(part(0, 12)));
  const std::size_t freed = little32(state, 48);
  if (freed > (state.size() - 60) / 4) return;
  put(56, crc32(part(60, 4 * freed), crc32(part(16, 40))));
  constexpr std::size_t kRecord = 4 * 4 + 3 * 8 + Episode::kMaxLabel + 1 + 8 * kWidth + 4;
  for (std::size_t at = 60 + 4 * freed; state.size() - at >= kRecord; at += kRecord) {
    put(at + kRecord - 4, crc32(part(at, kRecord - 4)));
  }
}

}  // namespace

void fuzz(Input input) {
  const bool forged = take(input) & 1;
  std::vector<std::vector<std::uint8_t>> parts;
  while (input.size() > 2 && parts.size() < 8) {
    const std::size_t first = take(input), size = std::min<std::size_t>(first << 8 | take(input), input.size());
    parts.emplace_back(input.begin(), input.begin() + static_cast<std::ptrdiff_t>(size));
    if (forged) mend(parts.back());
    input = input.subspan(size);
  }
  if (parts.empty()) return;
  Memory loaded;
  EpisodicMemory& memory = *loaded.memory;
  const std::vector<ByteSpan> frames(parts.begin() + 1, parts.end());
  memory.load(parts[0], frames);
  memory.load(std::nullopt, frames);  // a second time, on top
  require(memory.size() <= kSlots);
  const std::vector<float> vector(kWidth, 0.5f);
  memory.write(vector, vector, 1);
  memory.teach(vector, vector, "a mug", 2);
  const auto saved = memory.snapshot();
  Memory again;
  const auto report = again.memory->load(saved, {});
  require(report.dropped_slots == 0 && report.loaded == memory.size());
  require(again.memory->snapshot() == saved);
}

}  // namespace bitmar
