// The PNG and JPEG decoder, in a file of its own because its warnings are not ours.
#include "io/stb_image.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "io/inflate.h"

namespace {

thread_local std::size_t most = 0;           // bytes of an allocation
thread_local std::size_t unpacked_size = 0;  // of a PNG

// Zeroed, so that what a damaged file leaves out is black, and not what was in memory before.
void* allocate(std::size_t size) { return size <= most ? std::calloc(size, 1) : nullptr; }
void* reallocate(void* memory, std::size_t size) { return size <= most ? std::realloc(memory, size) : nullptr; }

}  // namespace

namespace bitmar {

DecoderLimit::DecoderLimit(std::size_t bytes, std::size_t unpacked) {
  most = bytes;
  unpacked_size = unpacked;
}
DecoderLimit::~DecoderLimit() { most = unpacked_size = 0; }

}  // namespace bitmar

#define STB_IMAGE_IMPLEMENTATION
#define STBI_MALLOC(size) allocate(size)
#define STBI_REALLOC(memory, size) reallocate(memory, size)
#define STBI_FREE(memory) std::free(memory)
#define STBI_NO_SIMD  // the same pixels on every processor
#define STBI_NO_ZLIB  // inflate.h
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
namespace bitmar {
#include <stb/stb_image.h>

namespace {

const char* words_for(Inflated result) {
  switch (result) {
    case Inflated::ends_early:
      return "its packed pixels end early";
    case Inflated::no_zlib:
      return "its pixels are not packed by deflate";
    case Inflated::too_many_tables:
      return kTooManyTables;
    default:
      return "its packed pixels are no deflate data";
  }
}

}  // namespace

// What the PNG decoder unpacks with, to as many bytes as the header says. Without a header are files of Apple's own
// kind, which png_header.cpp refuses.
STBIDEF char* stbi_zlib_decode_malloc_guesssize_headerflag(const char* packed, int length, int /*expected*/,
                                                           int* unpacked, int /*header*/) {
  auto* const bytes = static_cast<std::uint8_t*>(STBI_MALLOC(unpacked_size));
  if (!bytes) {
    stbi__err("outofmem", "");
    return nullptr;
  }
  std::size_t size = 0;
  const Inflated result = inflate({reinterpret_cast<const std::uint8_t*>(packed), static_cast<std::size_t>(length)},
                                  {bytes, unpacked_size}, size);
  if (result != Inflated::ok) {
    stbi__err(words_for(result), "");
    STBI_FREE(bytes);
    return nullptr;
  }
  *unpacked = static_cast<int>(size);
  return reinterpret_cast<char*>(bytes);
}

}  // namespace bitmar
