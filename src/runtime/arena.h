// All working memory, planned once at load: run the plan on a measuring arena, commit, run it again.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace bitmar {

enum class Purpose { activations, kv_cache, memory_slots, scratch };
inline constexpr std::size_t kPurposes = 4;

// One region per purpose. The same calls in the same order are made twice: before commit() they only
// count (the spans have sizes but no data), after it they hand out zeroed memory.
class Arena {
 public:
  static constexpr std::size_t kAlignment = 64;  // a cache line, and the widest vector load

  template <class T>
  std::span<T> take(Purpose purpose, std::size_t count) {
    return {reinterpret_cast<T*>(take_bytes(purpose, count, sizeof(T))), count};
  }

  // Stages that never run at the same time share memory: mark, plan one, rewind, plan the next.
  std::size_t mark(Purpose purpose) const { return region(purpose).used; }
  void rewind(Purpose purpose, std::size_t mark) { region(purpose).used = mark; }

  void commit();
  std::size_t bytes(Purpose purpose) const { return region(purpose).peak; }

 private:
  struct Region {
    std::size_t used = 0, peak = 0;
    std::byte* base = nullptr;
  };
  struct Free {
    void operator()(std::byte* p) const;
  };
  Region& region(Purpose p) { return regions_[static_cast<std::size_t>(p)]; }
  const Region& region(Purpose p) const { return regions_[static_cast<std::size_t>(p)]; }
  std::byte* take_bytes(Purpose purpose, std::size_t count, std::size_t size);

  std::array<Region, kPurposes> regions_;
  std::unique_ptr<std::byte, Free> memory_;
};

}  // namespace bitmar
