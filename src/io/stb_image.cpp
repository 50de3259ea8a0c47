// The decoder of PNG and JPEG, alone in its file: its warnings are not ours.
#include "io/stb_image.h"

#include <cstddef>
#include <cstdlib>

namespace {

// A few hundred bytes of PNG can unpack to gigabytes. The largest image that is let through, of 16-bit RGBA,
// needs 320 MB at a time.
constexpr std::size_t kMaxAllocation = 400'000'000;

// Zeroed, so that what a damaged file leaves out is black, and not what was in memory before.
void* allocate(std::size_t size) { return size <= kMaxAllocation ? std::calloc(size, 1) : nullptr; }
void* reallocate(void* memory, std::size_t size) {
  return size <= kMaxAllocation ? std::realloc(memory, size) : nullptr;
}

}  // namespace

#define STB_IMAGE_IMPLEMENTATION
#define STBI_MALLOC(size) allocate(size)
#define STBI_REALLOC(memory, size) reallocate(memory, size)
#define STBI_FREE(memory) std::free(memory)
#define STBI_NO_SIMD  // the same pixels on every processor
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
#include <stb/stb_image.h>
