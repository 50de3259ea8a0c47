// Reads PNG chunks (W3C PNG, section 5) and verifies their checksums, which the decoder ignores. Of an animated one it
// knows the image that is there for who cannot animate it.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "io/byte_reader.h"
#include "io/crc32.h"
#include "io/error.h"
#include "io/image_header.h"

namespace bitmar {

namespace {

constexpr unsigned kPalette = 3;               // the type of colour
constexpr std::uint64_t kMostUnpacked = 1032;  // bytes from one of deflate's (RFC 1951): 258 from two bits

[[noreturn]] void fail(const char* message) { throw Error(ErrorCode::invalid_image, message); }

// What IHDR says of the pixels.
struct Layout {
  unsigned depth = 0, colour = 0, channels = 0;
  bool interlaced = false;
  std::uint64_t pixels = 0;
  std::uint64_t unpacked = 0;  // bytes, a filter byte before each line

  bool has_alpha() const { return (colour & 4) != 0; }
};

// Of columns and rows that begin at one of Adam7's places and come again (W3C PNG, section 8.2); the whole image's as
// well.
struct Pass {
  unsigned left, top, across, down;
};
constexpr Pass kWhole[] = {{0, 0, 1, 1}};
constexpr Pass kAdam7[] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
                           {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};

std::uint64_t unpacked_bytes(std::uint64_t width, std::uint64_t height, unsigned bits, std::span<const Pass> passes) {
  std::uint64_t bytes = 0;
  for (const Pass& p : passes) {
    const std::uint64_t w = (width + p.across - 1 - p.left) / p.across, h = (height + p.down - 1 - p.top) / p.down;
    if (w > 0) bytes += (1 + (w * bits + 7) / 8) * h;
  }
  return bytes;
}

Layout read_layout(ByteSpan ihdr) {
  constexpr unsigned kChannels[] = {1, 0, 3, 1, 2, 0, 4};  // by colour type
  const std::uint64_t width = big32(ihdr, 0), height = big32(ihdr, 4);
  Layout layout{.depth = ihdr[8], .colour = ihdr[9], .interlaced = ihdr[12] != 0, .pixels = width * height};
  if (layout.colour > 6 || kChannels[layout.colour] == 0 || layout.depth > 16) {
    fail("the PNG has a kind of pixels that no PNG may have");
  }
  layout.channels = kChannels[layout.colour];
  const std::span<const Pass> passes = layout.interlaced ? std::span<const Pass>(kAdam7) : kWhole;
  layout.unpacked = unpacked_bytes(width, height, layout.channels * layout.depth, passes);
  return layout;
}

// Flat drawings have a thousandth of their pixels' bytes, but are not that large. What deflate cannot make smaller it
// leaves as it is, a few bytes longer, or with nine bits for eight; what is longer codes nothing, at much work.
void check_packing(std::uint64_t unpacked, std::uint64_t packed) {
  constexpr std::uint64_t kFree = 64 << 20, kRatio = 200, kFreePacked = 64 << 10;
  if (unpacked > kMostUnpacked * (packed + 1)) fail("the PNG claims more pixels than its bytes can hold");
  if (unpacked > kFree + kRatio * packed || packed > kFreePacked + unpacked + unpacked / 8) {
    throw Error(ErrorCode::image_too_large, "the PNG has " + std::to_string(packed) + " bytes of image data for " +
                                                std::to_string(unpacked) + " bytes of pixels");
  }
}

// What the decoder allocates, as it is written: the unpacked lines, the pixels made of them with the channel that a
// transparent colour adds, and what these are converted to.
void estimate_memory(const Layout& l, bool transparent, std::uint64_t packed, ImageHeader& header) {
  const std::uint64_t bytes = l.depth == 16 ? 2 : 1;
  const std::uint64_t lines = l.unpacked;
  const std::uint64_t own = l.pixels * bytes * (l.channels + (transparent && l.colour != kPalette ? 1 : 0));
  const std::uint64_t rgb = (header.alpha ? 4 : 3) * l.pixels * bytes;
  const std::uint64_t made = l.interlaced ? own + own / 2 : own;
  const std::uint64_t then = own == rgb ? 0 : own + rgb;
  header.unpacked = static_cast<std::size_t>(lines);
  header.largest = static_cast<std::size_t>(std::max({lines, own, rgb}));
  header.memory = static_cast<std::size_t>(
      std::max({2 * packed + lines, lines + made, l.colour == kPalette ? lines + own + rgb : then}));
}

// The file with a palette of 256 colours, its last one again where it had none, as Chromium takes them: the decoder
// does not check which one a pixel names.
std::vector<std::uint8_t> with_whole_palette(ByteSpan file, std::size_t at, std::size_t length) {
  constexpr std::size_t kColours = 256, kHead = 8, kChecksum = 4;  // the decoder does not look at the checksum
  const std::size_t whole = 3 * kColours;
  std::vector<std::uint8_t> mended;
  mended.reserve(file.size() + whole - length);
  const auto append = [&](ByteSpan bytes) { mended.insert(mended.end(), bytes.begin(), bytes.end()); };
  append(file.first(at + kHead + length));
  mended[at + 2] = static_cast<std::uint8_t>(whole >> 8);
  mended[at + 3] = static_cast<std::uint8_t>(whole);
  while (mended.size() < at + kHead + whole) mended.push_back(mended[mended.size() - 3]);
  mended.resize(at + kHead + whole + kChecksum);
  append(file.subspan(at + kHead + length + kChecksum));
  return mended;
}

}  // namespace

ImageHeader read_png_header(ByteSpan file) {
  constexpr std::size_t kSignature = 8, kOverhead = 12;  // length, type and checksum of a chunk
  constexpr std::uint8_t kAncillary = 0x20;              // in the first letter of its type
  ImageHeader header;
  Layout layout;
  std::uint64_t packed = 0;                    // bytes of pixels
  std::size_t palette = 0, palette_bytes = 0;  // where its chunk is, and its colours
  bool data = false, transparent = false, seen_exif = false;
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
      layout = read_layout(chunk);
      header.alpha = layout.has_alpha();
    } else if (has_text(typed, 0, "PLTE")) {
      if (length < 3 || length > 768 || length % 3 != 0) fail("the PNG has a broken palette");
      if (!palette) palette = at;
      palette_bytes = palette == at ? length : palette_bytes;
    } else if (has_text(typed, 0, "tRNS")) {
      transparent = header.alpha = true;
    } else if (has_text(typed, 0, "eXIf") && !seen_exif) {
      header.orientation = exif_orientation(chunk);
      seen_exif = true;
    } else if (has_text(typed, 0, "IDAT")) {
      // Allowed, but nobody writes it, and the decoder would copy nothing to nowhere, which is not defined.
      if (!data && length == 0) {
        throw Error(ErrorCode::unsupported_image, "PNG that begins with empty image data is not supported");
      }
      data = true;
      packed += length;
    } else if (has_text(typed, 0, "IEND")) {
      if (!data) fail("the PNG has no image data");
      check_packing(layout.unpacked, packed);
      header.coded = static_cast<std::size_t>(packed);
      check_density(header.width, header.height, header.coded);
      estimate_memory(layout, transparent, packed, header);
      if (layout.colour == kPalette && palette && palette_bytes < 768)
        header.mended = with_whole_palette(file, palette, palette_bytes);
      return header;
    } else if (!(typed[0] & kAncillary)) {
      fail("the PNG has a critical chunk that is not in its standard");
    }
    at += kOverhead + length;
  }
}

}  // namespace bitmar
