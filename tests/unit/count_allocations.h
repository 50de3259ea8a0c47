#pragma once

#include <cstddef>

namespace bitmar {

// Calls of operator new so far. Natively only: under Emscripten it stays 0.
std::size_t allocations();

// The `which`-th call of operator new from now on (1: the next one) throws std::bad_alloc; 0: none does. Natively only.
void fail_allocation(std::size_t which);

}  // namespace bitmar
