// Reads what a file says about its image without decoding it. Checks that the file is complete and that its bytes can
// hold what they claim: the limits on work come before the work.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace bitmar {

struct ImageHeader {
  int width = 0, height = 0;  // as stored
  int orientation = 1;        // of EXIF, 1 to 8: how to turn it upright
  bool alpha = false;         // some pixels may be transparent
  std::size_t coded = 0;      // bytes of the file that code pixels
  std::size_t unpacked = 0;   // bytes of a PNG's lines
  std::size_t largest = 0;    // bytes of the largest thing that the decoder allocates
  std::size_t memory = 0;     // bytes that it holds at once, at most
  // What the decoder is given instead of a file that it would not read as others do; empty: the file as it is.
  std::vector<std::uint8_t> mended;
};

// Of a TIFF header and its first directory, as EXIF has it. 1 where there is none, or none that makes sense: a photo is
// not refused for that.
int exif_orientation(std::span<const std::uint8_t> tiff);

// Throws image_too_large.
void check_image_size(int width, int height);

// A picture of few pixels is cheap whatever the file; a large one must come in some bytes that code pixels. Photos have
// more than ten times these bytes per pixel. Throws image_too_large.
void check_density(int width, int height, std::size_t coded_bytes);

// Throws as decode_image.
ImageHeader read_jpeg_header(std::span<const std::uint8_t> file);
ImageHeader read_png_header(std::span<const std::uint8_t> file);

}  // namespace bitmar
