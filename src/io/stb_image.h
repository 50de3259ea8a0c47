// stb_image as used here: from memory, PNG and JPEG only.
#pragma once

#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_HDR
#define STBI_MAX_DIMENSIONS 16384  // kMaxImageSide

// All that it includes, so that it includes nothing within the namespace.
#include <assert.h>
#include <limits.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cstddef>

namespace bitmar {

#include <stb/stb_image.h>

// A reason for failure beside the decoder's own: the image may be whole, but is too much work.
inline constexpr char kTooManyTables[] = "its packed pixels have too many tables for so few bytes";

// While it lives, no allocation of the decoder in this thread has more than so many bytes, and PNG is unpacked to at
// most `unpacked`: a few hundred bytes of it can make gigabytes, and what an image needs is known beforehand.
class DecoderLimit {
 public:
  DecoderLimit(std::size_t bytes, std::size_t unpacked);
  DecoderLimit(const DecoderLimit&) = delete;
  DecoderLimit& operator=(const DecoderLimit&) = delete;
  ~DecoderLimit();
};

}  // namespace bitmar
