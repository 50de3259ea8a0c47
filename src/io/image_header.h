// What a file says of its image, read without decoding it; and whether the file goes on to its end.
#pragma once

#include <cstdint>
#include <span>

namespace bitmar {

struct ImageHeader {
  int width = 0, height = 0;  // as stored
  int orientation = 1;        // of EXIF, 1 to 8: how to turn it upright
};

// Throws as decode_image.
ImageHeader read_jpeg_header(std::span<const std::uint8_t> file);
ImageHeader read_png_header(std::span<const std::uint8_t> file);

}  // namespace bitmar
