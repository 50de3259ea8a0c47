// Photos: pixels in memory, and PNG and JPEG files decoded to pixels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

namespace bitmar {

constexpr int kMaxImageSide = 16384;
constexpr std::int64_t kMaxImagePixels = 40'000'000;  // 120 MB as RGB; refused before anything is allocated
constexpr std::size_t kMaxImageFile = 96 << 20;       // bytes; photos of so many pixels have some 60 MB as PNG

// Someone else's pixels, row by row without gaps. They must last as long as the call that is given the view.
struct ImageView {
  const std::uint8_t* data = nullptr;
  int width = 0, height = 0;
  int channels = 0;  // 3: RGB, 4: RGBA, seen on white
};

// Of raw RGB or RGBA; which one, the number of bytes tells. Throws invalid_image or image_too_large.
ImageView image_view(std::span<const std::uint8_t> pixels, int width, int height);

// Bytes by malloc, as the decoder makes them: a large image is not copied to be kept.
class Pixels {
 public:
  Pixels() = default;
  Pixels(std::uint8_t* malloced, std::size_t size) : bytes_(malloced), size_(size) {}
  static Pixels of_size(std::size_t size);

  std::uint8_t* data() { return bytes_.get(); }
  const std::uint8_t* data() const { return bytes_.get(); }
  std::size_t size() const { return size_; }
  const std::uint8_t* begin() const { return data(); }
  const std::uint8_t* end() const { return data() + size_; }
  std::uint8_t operator[](std::size_t i) const { return bytes_.get()[i]; }

 private:
  struct Free {
    void operator()(std::uint8_t* bytes) const;
  };
  std::unique_ptr<std::uint8_t[], Free> bytes_;
  std::size_t size_ = 0;
};

// An image of one's own: [height, width, 3] bytes of sRGB.
struct Image {
  int width = 0, height = 0;
  Pixels rgb;

  ImageView view() const { return {rgb.data(), width, height, 3}; }  // valid as long as this image
};

// A PNG or JPEG file as browsers show it: upright as its EXIF says, what is transparent on white, CMYK as RGB, 16 bits
// as 8, of an animation the first image. All is taken for sRGB: colour profiles and gamma are not looked at. Throws
// invalid_image when it is no image or not all of one, image_too_large before anything is decoded, and
// unsupported_image for other formats and JPEG that is arithmetic coded, lossless or of 12 bits. May be called from
// several threads.
Image decode_image(std::span<const std::uint8_t> file);

// The same of a file on disk. Throws missing_file and, above kMaxImageFile, invalid_argument as well.
Image read_image(const std::filesystem::path& path);

}  // namespace bitmar
