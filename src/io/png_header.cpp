// Reads PNG chunks (W3C PNG, section 5) and verifies their checksums, which the decoder ignores.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>

#include "io/byte_reader.h"
#include "io/crc32.h"
#include "io/error.h"
#include "io/image_header.h"

namespace bitmar {

namespace {

constexpr std::uint64_t kMostUnpacked = 1032;  // bytes from one of deflate's (RFC 1951): 258 from two bits

[[noreturn]] void fail(const char* message) { throw Error(ErrorCode::invalid_image, message); }

// Bytes of the pixels as deflate packed them, a filter byte before each line; of an interlaced image a few are left out.
std::uint64_t packed_bytes(ByteSpan ihdr) {
  constexpr unsigned kChannels[] = {1, 0, 3, 1, 2, 0, 4};  // by colour type
  const unsigned depth = ihdr[8], colour = ihdr[9];
  if (colour > 6 || kChannels[colour] == 0 || depth > 16) fail("the PNG has a kind of pixels that no PNG may have");
  return (1 + (std::uint64_t{big32(ihdr, 0)} * kChannels[colour] * depth + 7) / 8) * big32(ihdr, 4);
}

// Flat drawings have a thousandth of their pixels' bytes, but are not that large.
void check_packing(std::uint64_t unpacked, std::uint64_t packed, std::size_t file_bytes) {
  constexpr std::uint64_t kFree = 64 << 20, kRatio = 200;
  if (unpacked > kMostUnpacked * (packed + 1)) fail("the PNG claims more pixels than its bytes can hold");
  if (unpacked > kFree + kRatio * file_bytes) {
    throw Error(ErrorCode::image_too_large, "the PNG unpacks to " + std::to_string(unpacked) +
                                                " bytes, too many for a file of " + std::to_string(file_bytes));
  }
}

}  // namespace

ImageHeader read_png_header(ByteSpan file) {
  constexpr std::size_t kSignature = 8, kOverhead = 12;  // length, type and checksum of a chunk
  ImageHeader header;
  std::uint64_t unpacked = 0, packed = 0;  // bytes of pixels
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
      check_image_size(header.width, header.height);
      check_density(header.width, header.height, file.size());
      unpacked = packed_bytes(chunk);
    } else if (has_text(typed, 0, "acTL")) {
      throw Error(ErrorCode::unsupported_image, "animated PNG is not supported");
    } else if (has_text(typed, 0, "IDAT")) {
      // Allowed, but nobody writes it, and the decoder would copy nothing to nowhere, which is not defined.
      if (!data && length == 0) {
        throw Error(ErrorCode::unsupported_image, "PNG that begins with empty image data is not supported");
      }
      data = true;
      packed += length;
    } else if (has_text(typed, 0, "IEND")) {
      if (!data) fail("the PNG has no image data");
      check_packing(unpacked, packed, file.size());
      // Or what the decoder makes of a palette.
      header.unpacked =
          static_cast<std::size_t>(std::max(unpacked, std::uint64_t{4} * header.width * header.height));
      return header;
    }
    at += kOverhead + length;
  }
}

}  // namespace bitmar
