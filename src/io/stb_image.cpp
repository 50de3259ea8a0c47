// The PNG and JPEG decoder, in a file of its own because its warnings are not ours.
#include "io/stb_image.h"

#include <cstddef>
#include <cstdlib>

namespace {

thread_local std::size_t most = 0;  // bytes of an allocation

// Zeroed, so that what a damaged file leaves out is black, and not what was in memory before.
void* allocate(std::size_t size) { return size <= most ? std::calloc(size, 1) : nullptr; }
void* reallocate(void* memory, std::size_t size) { return size <= most ? std::realloc(memory, size) : nullptr; }

}  // namespace

namespace bitmar {

DecoderLimit::DecoderLimit(std::size_t bytes) : before_(most) { most = bytes; }
DecoderLimit::~DecoderLimit() { most = before_; }

}  // namespace bitmar

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
namespace bitmar {
#include <stb/stb_image.h>
}  // namespace bitmar
