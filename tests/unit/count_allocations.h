#pragma once

#include <cstddef>

namespace bitmar {

// Calls of operator new so far. Natively only: under Emscripten it stays 0.
std::size_t allocations();

}  // namespace bitmar
