#include "bitmar/memory.h"

#include <algorithm>
#include <chrono>

#include "io/error.h"
#include "model/engine.h"

namespace bitmar {

namespace {

int slot_of(const EpisodicMemory& memory, std::uint64_t id) {
  const int slot = memory.find(id);
  if (slot < 0) throw Error(ErrorCode::invalid_argument, "there is no such episode");
  return slot;
}

}  // namespace

double unix_time_ms() {
  using Milliseconds = std::chrono::duration<double, std::milli>;
  return Milliseconds(std::chrono::system_clock::now().time_since_epoch()).count();
}

int Memory::capacity() const { return engine_->memory().capacity(); }
int Memory::size() const { return engine_->memory().size(); }

std::vector<Episode> Memory::list() const {
  const EpisodicMemory& memory = engine_->memory();
  std::vector<Episode> episodes;
  for (int i = 0; i < memory.capacity(); ++i) {
    if (memory.occupied(i)) episodes.push_back(memory.slot(i));
  }
  return episodes;
}

std::optional<Episode> Memory::find(std::uint64_t id) const {
  const int slot = engine_->memory().find(id);
  if (slot < 0) return std::nullopt;
  return engine_->memory().slot(slot);
}

void Memory::resize(int slots) { engine_->resize_memory(slots); }
void Memory::set_policy(WritePolicy policy) { engine_->memory().set_policy(policy); }

Written Memory::remember(const ImageView& image, std::string_view text, double now_ms) {
  return engine_->remember(image, now_ms, text);
}

Written Memory::teach(const ImageView& image, std::string_view label, double now_ms) {
  return engine_->teach(image, now_ms, label);
}

void Memory::label(std::uint64_t id, std::string_view label) {
  EpisodicMemory& memory = engine_->memory();
  memory.set_label(slot_of(memory, id), label);
}

void Memory::touch(std::uint64_t id, double now_ms) {
  EpisodicMemory& memory = engine_->memory();
  memory.touch(slot_of(memory, id), now_ms);
}

bool Memory::forget(std::uint64_t id) {
  EpisodicMemory& memory = engine_->memory();
  const int slot = memory.find(id);
  if (slot >= 0) memory.forget(slot);
  return slot >= 0;
}

void Memory::clear() { engine_->memory().forget_all(); }

std::vector<Recalled> Memory::recall(const ImageView& image, int k, float least) {
  return recall(engine_->embed(&image, {}), k, least);
}

std::vector<Recalled> Memory::recall(std::string_view text, int k, float least) {
  return recall(engine_->embed(nullptr, text), k, least);
}

std::vector<Recalled> Memory::recall(std::span<const float> query, int k, float least) {
  EpisodicMemory& memory = engine_->memory();
  if (k < 0) throw Error(ErrorCode::invalid_argument, "k must be 0 or more, not " + std::to_string(k));
  std::vector<Match> matches(std::min(k, memory.size()));
  matches.resize(memory.recall(query, matches, least));
  std::vector<Recalled> recalled;
  recalled.reserve(matches.size());
  for (const auto& match : matches) recalled.push_back({memory.slot(match.slot), match.similarity});
  return recalled;
}

std::optional<Recognised> Memory::recognise(const ImageView& image) { return recognise(engine_->embed(&image, {})); }

std::optional<Recognised> Memory::recognise(std::span<const float> query) const {
  return engine_->memory().recognise(query);
}

std::vector<std::uint8_t> Memory::save() const { return engine_->memory().snapshot(); }
std::uint64_t Memory::sequence() const { return engine_->memory().sequence(); }

std::vector<std::uint8_t> Memory::changes_since(std::uint64_t since) const {
  return engine_->memory().changes_since(since);
}

LoadReport Memory::load(std::span<const std::uint8_t> snapshot, std::span<const std::span<const std::uint8_t>> changes,
                        bool shrink) {
  return engine_->load_memory(snapshot, changes, shrink);
}

}  // namespace bitmar
