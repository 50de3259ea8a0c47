// Reads what a file says about its image without decoding it. Checks that the file is complete and that its bytes can
// hold what they claim: the limits on work come before the work.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace bitmar {

struct ImageHeader {
  int width = 0, height = 0;  // as stored
  int orientation = 1;        // of EXIF, 1 to 8: how to turn it upright
  std::size_t coded = 0;      // bytes of the file that code pixels
  std::size_t largest = 0;    // bytes of the largest thing that the decoder allocates
  std::size_t memory = 0;     // bytes that it holds at once, at most
};

// Throws image_too_large.
void check_image_size(int width, int height);

// A picture of few pixels is cheap whatever the file; a large one must come in some bytes that code pixels. Photos have
// more than ten times these bytes per pixel. Throws image_too_large.
void check_density(int width, int height, std::size_t coded_bytes);

// Throws as decode_image.
ImageHeader read_jpeg_header(std::span<const std::uint8_t> file);
ImageHeader read_png_header(std::span<const std::uint8_t> file);

}  // namespace bitmar
