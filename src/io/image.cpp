#include "io/image.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "io/byte_reader.h"
#include "io/error.h"
#include "io/image_header.h"
#include "io/stb_image.h"

namespace bitmar {

namespace {

// Of one allocation of the decoder, beside what goes with the file's size: its tables.
constexpr std::size_t kDecoderSlack = 1 << 20;
// Bytes that decoding may hold at once, the file among them: with a program around it, 256 MB. Beyond that each must be
// paid for by bytes that code pixels. A progressive photo takes 8 bytes for a pixel, and has one for 2 to 20 pixels.
constexpr std::size_t kFreeMemory = std::size_t{230} << 20, kMemoryPerByte = 40;

// The name of a format that is an image, but none for us; nullptr if it is not known.
const char* other_format(ByteSpan file) {
  using namespace std::string_view_literals;
  if (has_text(file, 0, "GIF87a") || has_text(file, 0, "GIF89a")) return "GIF";
  if (has_text(file, 0, "RIFF") && has_text(file, 8, "WEBP")) return "WebP";
  if (has_text(file, 0, "BM") && has_text(file, 6, "\0\0\0\0"sv)) return "BMP";
  if (has_text(file, 0, "II*\0"sv) || has_text(file, 0, "MM\0*"sv)) return "TIFF";
  if (has_text(file, 4, "ftypavif") || has_text(file, 4, "ftypavis")) return "AVIF";
  if (has_text(file, 4, "ftyp")) return "HEIC or video";
  if (has_text(file, 0, "\xFF\x0A"sv) || has_text(file, 4, "JXL ")) return "JPEG XL";
  if (has_text(file, 4, "jP  ") || has_text(file, 0, "\xFF\x4F\xFF\x51"sv)) return "JPEG 2000";
  if (has_text(file, 0, "\0\0\1\0"sv)) return "ICO";
  return nullptr;
}

ImageHeader read_header(ByteSpan file) {
  if (has_text(file, 0, "\xFF\xD8\xFF")) return read_jpeg_header(file);
  if (has_text(file, 0, "\x89PNG\r\n\x1A\n")) return read_png_header(file);
  if (const char* format = other_format(file)) {
    throw Error(ErrorCode::unsupported_image, std::string(format) + " is not supported, only PNG and JPEG");
  }
  throw Error(ErrorCode::invalid_image, file.empty() ? "the file is empty" : "this is no image");
}

// Decoding takes its memory before it turns the image, to a copy; what has alpha is not made smaller before.
void check_memory(const ImageHeader& h, std::size_t file_bytes) {
  const std::size_t pixels = static_cast<std::size_t>(h.width) * h.height;
  const std::size_t bytes = file_bytes + std::max(h.memory, h.orientation > 1 ? (h.alpha ? 7 : 6) * pixels : 0);
  if (bytes > kFreeMemory + kMemoryPerByte * h.coded) {
    throw Error(ErrorCode::image_too_large, "decoding the image takes " + std::to_string(bytes >> 20) +
                                                " MB, too much for " + std::to_string(h.coded) + " bytes that code " +
                                                std::to_string(pixels) + " pixels");
  }
}

// EXIF's orientation o says where the first row and column of the stored image belong. An upright one is not copied.
Image upright(Pixels rgb, int w, int h, int o) {
  if (o == 1) return {.width = w, .height = h, .rgb = std::move(rgb)};
  Image image{.width = o >= 5 ? h : w, .height = o >= 5 ? w : h, .rgb = Pixels::of_size(rgb.size())};
  const bool from_right = o == 2 || o == 3 || o == 7 || o == 8;
  const bool from_below = o == 3 || o == 4 || o == 6 || o == 7;
  // Tile by tile, since of a quarter turn each pixel of a line comes from another one.
  constexpr int kTile = 32;
  for (int top = 0; top < image.height; top += kTile) {
    for (int left = 0; left < image.width; left += kTile) {
      for (int y = top; y < std::min(top + kTile, image.height); ++y) {
        for (int x = left; x < std::min(left + kTile, image.width); ++x) {
          int column = o >= 5 ? y : x, row = o >= 5 ? x : y;
          if (from_right) column = w - 1 - column;
          if (from_below) row = h - 1 - row;
          std::memcpy(image.rgb.data() + std::size_t{3} * (static_cast<std::size_t>(y) * image.width + x),
                      rgb.data() + std::size_t{3} * (static_cast<std::size_t>(row) * w + column), 3);
        }
      }
    }
  }
  return image;
}

}  // namespace

void composite_on_white(const std::uint8_t* rgba, std::size_t pixels, std::uint8_t* rgb) {
  for (std::size_t i = 0; i < pixels; ++i) {
    const unsigned alpha = rgba[4 * i + 3];
    for (std::size_t c = 0; c < 3; ++c)
      rgb[3 * i + c] = static_cast<std::uint8_t>((rgba[4 * i + c] * alpha + 255 * (255 - alpha) + 127) / 255);
  }
}

Pixels Pixels::of_size(std::size_t size) {
  auto* bytes = static_cast<std::uint8_t*>(std::malloc(size));
  if (!bytes) throw std::bad_alloc();
  return {bytes, size};
}

void Pixels::Free::operator()(std::uint8_t* bytes) const { std::free(bytes); }

void check_image_size(int width, int height) {
  if (width > kMaxImageSide || height > kMaxImageSide || std::int64_t{width} * height > kMaxImagePixels) {
    throw Error(ErrorCode::image_too_large, "the image has " + std::to_string(width) + " x " + std::to_string(height) +
                                                " pixels; the limits are " + std::to_string(kMaxImageSide) +
                                                " a side and " + std::to_string(kMaxImagePixels) + " together");
  }
}

void check_density(int width, int height, std::size_t coded_bytes) {
  constexpr std::uint64_t kFree = 12'000'000, kMostPixelsPerByte = 100;
  if (static_cast<std::uint64_t>(width) * height > kFree + kMostPixelsPerByte * coded_bytes) {
    throw Error(ErrorCode::image_too_large, std::to_string(width) + " x " + std::to_string(height) +
                                                " pixels are too many for " + std::to_string(coded_bytes) +
                                                " bytes that code them");
  }
}

ImageView image_view(ByteSpan pixels, int width, int height) {
  if (width < 1 || height < 1) throw Error(ErrorCode::invalid_image, "the image has no pixels");
  check_image_size(width, height);
  const std::size_t count = static_cast<std::size_t>(width) * height;
  if (pixels.size() != 3 * count && pixels.size() != 4 * count) {
    throw Error(ErrorCode::invalid_image, std::to_string(pixels.size()) + " bytes are neither RGB nor RGBA of " +
                                              std::to_string(width) + " x " + std::to_string(height) + " pixels");
  }
  return {pixels.data(), width, height, static_cast<int>(pixels.size() / count)};
}

Image decode_image(ByteSpan file) {
  if (file.size() > kMaxImageFile) {
    throw Error(ErrorCode::image_too_large, "the file has more than " + std::to_string(kMaxImageFile) + " bytes");
  }
  const ImageHeader header = read_header(file);
  check_memory(header, file.size() + header.mended.size());
  if (!header.mended.empty()) file = header.mended;
  const int length = static_cast<int>(file.size());
  int width = 0, height = 0, channels = 0;
  const auto check_agreement = [&] {
    if (width != header.width || height != header.height)
      throw Error(ErrorCode::invalid_image, "the image contradicts itself");
  };
  const auto fail = [] {
    const std::string reason = stbi_failure_reason() ? stbi_failure_reason() : "unknown";
    if (reason == "outofmem") throw Error(ErrorCode::out_of_memory, "decoding the image takes too much memory");
    if (reason == kTooManyTables) throw Error(ErrorCode::image_too_large, "the image is too much work: " + reason);
    throw Error(ErrorCode::invalid_image, "the image is damaged: " + reason);
  };
  const DecoderLimit limit(kDecoderSlack + std::max(2 * header.coded, header.largest), header.unpacked);
  // Before decoding: the decoder must not see a larger image than we did.
  if (!stbi_info_from_memory(file.data(), length, &width, &height, &channels)) fail();
  check_agreement();
  stbi_uc* const loaded = stbi_load_from_memory(file.data(), length, &width, &height, &channels, header.alpha ? 4 : 3);
  if (!loaded) fail();
  const std::size_t count = static_cast<std::size_t>(width) * height;
  Pixels pixels(loaded, 3 * count);  // stbi_image_free() is std::free(): see stb_image.cpp
  check_agreement();
  if (header.alpha) composite_on_white(loaded, count, loaded);  // each pixel lands on those that were read
  return upright(std::move(pixels), width, height, header.orientation);
}

}  // namespace bitmar
