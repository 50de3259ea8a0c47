// PNG's chunks (W3C PNG, section 5), with their checksums, which the decoder does not look at.
#include <limits>

#include "io/byte_reader.h"
#include "io/crc32.h"
#include "io/error.h"
#include "io/image_header.h"

namespace bitmar {

namespace {

[[noreturn]] void fail(const char* message) { throw Error(ErrorCode::invalid_image, message); }

}  // namespace

ImageHeader read_png_header(ByteSpan file) {
  constexpr std::size_t kSignature = 8, kOverhead = 12;  // length, type and checksum of a chunk
  ImageHeader header;
  bool data = false;
  for (std::size_t at = kSignature;;) {
    if (at > file.size() || file.size() - at < kOverhead) fail("the PNG is truncated");
    const std::size_t length = big32(file, at);
    if (length > file.size() - at - kOverhead) fail("the PNG is truncated");
    const ByteSpan typed = file.subspan(at + 4, 4 + length), chunk = typed.subspan(4);
    if (crc32(typed) != big32(file, at + 8 + length)) fail("the PNG is damaged: a checksum does not fit");
    if (at == kSignature) {
      if (!has_text(typed, 0, "IHDR") || length != 13) fail("the PNG does not begin with its header");
      const std::uint32_t width = big32(chunk, 0), height = big32(chunk, 4);
      if (!width || !height) fail("the PNG has no pixels");
      constexpr std::uint32_t kMost = std::numeric_limits<std::int32_t>::max();
      if (width > kMost || height > kMost) fail("the PNG has a size that no PNG may have");
      header.width = static_cast<int>(width);
      header.height = static_cast<int>(height);
    } else if (has_text(typed, 0, "acTL")) {
      throw Error(ErrorCode::unsupported_image, "animated PNG is not supported");
    } else if (has_text(typed, 0, "IDAT")) {
      data = true;
    } else if (has_text(typed, 0, "IEND")) {
      if (!data) fail("the PNG has no image data");
      return header;
    }
    at += kOverhead + length;
  }
}

}  // namespace bitmar
