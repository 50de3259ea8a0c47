#include "runtime/arena.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <stdexcept>

namespace bitmar {

namespace {

std::size_t checked_add(std::size_t a, std::size_t b) {
  if (a > std::numeric_limits<std::size_t>::max() - b) throw std::bad_alloc();
  return a + b;
}

}  // namespace

void Arena::Free::operator()(std::byte* p) const { ::operator delete(p, std::align_val_t(kAlignment)); }

std::byte* Arena::take_bytes(Purpose purpose, std::size_t count, std::size_t size) {
  if (count > std::numeric_limits<std::size_t>::max() / 2 / size) throw std::bad_alloc();
  const std::size_t bytes = (count * size + kAlignment - 1) / kAlignment * kAlignment;
  Region& r = region(purpose);
  const std::size_t start = r.used;
  r.used = checked_add(start, bytes);
  if (!memory_) {
    r.peak = std::max(r.peak, r.used);
    return nullptr;
  }
  if (r.used > r.peak) throw std::logic_error("the arena is asked for more than was planned");
  return r.base + start;
}

void Arena::commit() {
  std::size_t total = 0;
  for (const Region& r : regions_) total = checked_add(total, r.peak);
  memory_.reset(static_cast<std::byte*>(::operator new(std::max(total, kAlignment), std::align_val_t(kAlignment))));
  std::memset(memory_.get(), 0, total);
  std::byte* base = memory_.get();
  for (Region& r : regions_) {
    r.base = base;
    r.used = 0;
    base += r.peak;
  }
}

}  // namespace bitmar
