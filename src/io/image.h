// Decodes photo files to pixels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace bitmar {

constexpr int kMaxImageSide = 16384;
constexpr std::int64_t kMaxImagePixels = 40'000'000;  // 120 MB as RGB; refused before anything is allocated

// Someone else's pixels, row by row without gaps.
struct ImageView {
  const std::uint8_t* data = nullptr;
  int width = 0, height = 0;
  int channels = 0;  // 3: RGB, 4: RGBA, of which alpha is not looked at
};

// Of raw RGB or RGBA; which one, the number of bytes tells. Throws invalid_image or image_too_large.
ImageView image_view(std::span<const std::uint8_t> pixels, int width, int height);

struct Image {
  int width = 0, height = 0;
  std::vector<std::uint8_t> rgb;

  ImageView view() const { return {rgb.data(), width, height, 3}; }
};

// A PNG or JPEG file, upright as its EXIF says, alpha dropped, 16 bits to 8. Throws invalid_image when it is no
// image or not all of one, image_too_large before anything is decoded, and unsupported_image for other formats,
// animated PNG, and JPEG that is CMYK, arithmetic coded, lossless or of 12 bits.
Image decode_image(std::span<const std::uint8_t> file);

}  // namespace bitmar
