// JPEG's markers (ITU T.81, annex B) and the orientation in EXIF. The decoder fills what a truncated file lacks
// with grey; here is where that is noticed.
#include "io/byte_reader.h"
#include "io/error.h"
#include "io/image_header.h"

namespace bitmar {

namespace {

enum Marker : unsigned {
  TEM = 0x01,
  SOF0 = 0xC0,
  SOF2 = 0xC2,
  DHT = 0xC4,
  JPG = 0xC8,
  DAC = 0xCC,
  SOF15 = 0xCF,
  RST0 = 0xD0,
  RST7 = 0xD7,
  SOI = 0xD8,
  EOI = 0xD9,
  SOS = 0xDA,
  APP1 = 0xE1
};

// Progressive photos have about ten scans. Each costs time for the whole image, and few bytes of the file.
constexpr int kMaxScans = 100;

[[noreturn]] void fail(const char* message) { throw Error(ErrorCode::invalid_image, message); }
[[noreturn]] void fail_truncated() { fail("the JPEG is truncated"); }
[[noreturn]] void refuse(const char* what) {
  throw Error(ErrorCode::unsupported_image, std::string(what) + " JPEG is not supported");
}

// 1 where there is none, or none that makes sense: a photo is not refused for that.
int exif_orientation(ByteSpan segment) {
  constexpr std::size_t kTiff = 6;
  constexpr std::uint32_t kTag = 0x0112, kShort = 3;
  if (!has_text(segment, 0, std::string_view("Exif\0\0", kTiff))) return 1;
  const ByteSpan tiff = segment.subspan(kTiff);
  const bool little = has_text(tiff, 0, std::string_view("II*\0", 4));
  if (!little && !has_text(tiff, 0, std::string_view("MM\0*", 4))) return 1;
  const auto u16 = [&](std::size_t at) { return little ? little16(tiff, at) : big16(tiff, at); };
  const auto u32 = [&](std::size_t at) { return little ? little32(tiff, at) : big32(tiff, at); };
  if (tiff.size() < 8) return 1;
  std::size_t at = u32(4);
  if (at > tiff.size() || tiff.size() - at < 2) return 1;
  std::size_t count = u16(at);
  for (at += 2; count && tiff.size() - at >= 12; --count, at += 12) {
    if (u16(at) != kTag) continue;
    const std::uint32_t value = u16(at + 8);
    return u16(at + 2) == kShort && u32(at + 4) == 1 && value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

void read_frame(unsigned marker, ByteSpan segment, ImageHeader& header) {
  if (marker > SOF2) refuse(marker < 0xC8 ? "lossless or hierarchical" : "arithmetic coded");
  if (segment.size() < 6 || segment.size() != 6 + 3 * std::size_t{segment[5]}) fail("the JPEG has a broken frame");
  if (segment[0] != 8) refuse("12-bit");
  if (segment[5] == 4) refuse("CMYK");
  if (segment[5] != 1 && segment[5] != 3) fail("the JPEG has neither one nor three channels");
  if (header.width) fail("the JPEG has two frames");
  header.height = static_cast<int>(big16(segment, 1));
  header.width = static_cast<int>(big16(segment, 3));
  if (!header.width || !header.height) fail("the JPEG has no pixels");
}

// stb_image 2.27 writes a table of more than 256 codes past its end.
void check_huffman_tables(ByteSpan segment) {
  constexpr std::size_t kLengths = 16, kHead = 1 + kLengths;
  while (!segment.empty()) {
    std::size_t codes = 0;
    if (segment.size() < kHead) fail("the JPEG has a broken Huffman table");
    for (std::size_t i = 1; i < kHead; ++i) codes += segment[i];
    if (codes > 256 || segment.size() < kHead + codes) fail("the JPEG has a broken Huffman table");
    segment = segment.subspan(kHead + codes);
  }
}

// Coded data to the next marker that is no restart.
std::size_t skip_scan(ByteSpan file, std::size_t at) {
  for (; at + 1 < file.size(); ++at) {
    if (file[at] != 0xFF) continue;
    const unsigned next = file[at + 1];
    if (next != 0x00 && next != 0xFF && !(next >= RST0 && next <= RST7)) return at;
  }
  fail_truncated();
}

}  // namespace

ImageHeader read_jpeg_header(ByteSpan file) {
  ImageHeader header;
  int scans = 0;
  bool seen_exif = false;
  for (std::size_t at = 2;;) {
    if (at + 2 > file.size()) fail_truncated();
    if (file[at] != 0xFF) fail("the JPEG has no marker where one must be");
    const unsigned marker = file[at + 1];
    if (marker == 0xFF) {  // a byte of padding
      ++at;
      continue;
    }
    at += 2;
    if (marker == EOI) break;
    if (marker == SOI || marker == 0 || (marker >= RST0 && marker <= RST7)) fail("the JPEG has a marker out of place");
    if (marker == TEM) continue;
    if (file.size() - at < 2) fail_truncated();
    const std::size_t length = big16(file, at);
    if (length < 2) fail("the JPEG has a broken segment");
    if (file.size() - at < length) fail_truncated();
    const ByteSpan segment = file.subspan(at + 2, length - 2);
    at += length;
    if (marker == DHT) {
      check_huffman_tables(segment);
    } else if (marker >= SOF0 && marker <= SOF15 && marker != JPG && marker != DAC) {
      read_frame(marker, segment, header);
    } else if (marker == APP1 && !seen_exif && has_text(segment, 0, "Exif")) {
      header.orientation = exif_orientation(segment);
      seen_exif = true;
    } else if (marker == SOS) {
      if (!header.width) fail("the JPEG has no frame");
      if (++scans > kMaxScans) fail("the JPEG has too many scans");
      at = skip_scan(file, at);
    }
  }
  if (!scans) fail("the JPEG has no image data");
  return header;
}

}  // namespace bitmar
