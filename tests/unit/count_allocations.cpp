#include "count_allocations.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {
std::atomic<std::size_t> count = 0, failing = 0;
}

std::size_t bitmar::allocations() { return count; }

void bitmar::fail_allocation(std::size_t which) { failing = which ? count + which : 0; }

#ifndef __EMSCRIPTEN__
void* operator new(std::size_t size) {
  if (++count == failing) throw std::bad_alloc();
  if (void* p = std::malloc(size ? size : 1)) return p;
  throw std::bad_alloc();
}
// Replaced too, since what it gives ends in the deletes below: std::stable_sort's buffer, for one.
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  ++count;
  return std::malloc(size ? size : 1);
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
#endif
