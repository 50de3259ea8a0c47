// Resizing must be Pillow's to the last bit: the model was trained on its pixels.
#include "io/resize.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <vector>

#include "io/error.h"

namespace bitmar {
namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes noise(std::size_t count) {
  Bytes values(count);
  std::uint32_t state = 1;
  for (std::uint8_t& v : values) {
    state = state * 1664525u + 1013904223u;
    v = static_cast<std::uint8_t>(state >> 24);
  }
  return values;
}

// resize.bin is written by tests/golden/images.py.
TEST(Resize, EqualsPillow) {
  std::ifstream stream(BITMAR_SOURCE_DIR "/tests/golden/resize.bin", std::ios::binary);
  const Bytes golden((std::istreambuf_iterator<char>(stream)), {});
  std::size_t at = 0;
  constexpr int kSizes[][4] = {{37, 23, 16, 16}, {5, 7, 16, 16},     {16, 40, 16, 16}, {40, 16, 16, 16}, {101, 3, 8, 8},
                               {1, 1, 8, 8},     {333, 217, 24, 24}, {16, 16, 16, 16}, {3, 500, 12, 10}};
  for (const auto& [w, h, out_w, out_h] : kSizes) {
    SCOPED_TRACE(testing::Message() << w << "x" << h << " to " << out_w << "x" << out_h);
    const Bytes rgb = noise(std::size_t{3} * w * h);
    Bytes rgba;  // the same, opaque
    for (std::size_t i = 0; i < rgb.size(); ++i) {
      rgba.push_back(rgb[i]);
      if (i % 3 == 2) rgba.push_back(255);
    }
    const std::size_t size = std::size_t{3} * out_w * out_h;
    ASSERT_LE(at + size, golden.size());
    const Bytes expected(golden.begin() + static_cast<std::ptrdiff_t>(at),
                         golden.begin() + static_cast<std::ptrdiff_t>(at + size));
    Bytes out(size);
    resize_bilinear({rgb.data(), w, h, 3}, out_w, out_h, out);
    EXPECT_EQ(out, expected);
    Bytes from_rgba(size);
    resize_bilinear({rgba.data(), w, h, 4}, out_w, out_h, from_rgba);
    EXPECT_EQ(from_rgba, expected);
    at += size;
  }
  EXPECT_EQ(at, golden.size());
}

TEST(Resize, SeesWhatIsTransparentOnWhite) {
  constexpr int kSide = 9;
  Bytes rgba, rgb;
  for (int i = 0; i < kSide * kSide; ++i) {
    // Opaque rows, transparent ones and half transparent ones.
    const unsigned alpha = i / kSide % 3 == 0 ? 255 : i / kSide % 3 == 1 ? 0 : 128;
    for (const unsigned c : {3u * i, 200u, 255u - i}) {
      rgba.push_back(static_cast<std::uint8_t>(c));
      rgb.push_back(static_cast<std::uint8_t>((rgba.back() * alpha + 255 * (255 - alpha) + 127) / 255));
    }
    rgba.push_back(static_cast<std::uint8_t>(alpha));
  }
  for (const int side : {4, kSide, 20}) {
    Bytes from_rgba(std::size_t{3} * side * side), from_rgb = from_rgba;
    resize_bilinear({rgba.data(), kSide, kSide, 4}, side, side, from_rgba);
    resize_bilinear({rgb.data(), kSide, kSide, 3}, side, side, from_rgb);
    EXPECT_EQ(from_rgba, from_rgb) << side;
  }
}

TEST(Resize, WhiteStaysWhite) {
  for (const int side : {1, 2, 7, 129, 1000}) {
    const Bytes white(std::size_t{3} * side * side, 255);
    Bytes out(3 * 16 * 16);
    resize_bilinear({white.data(), side, side, 3}, 16, 16, out);
    EXPECT_EQ(out, Bytes(out.size(), 255)) << side;
  }
}

TEST(Resize, RefusesWhatHasNoPixels) {
  const Bytes rgb(12);
  Bytes out(12);
  EXPECT_THROW(resize_bilinear({}, 2, 2, out), Error);
  EXPECT_THROW(resize_bilinear({rgb.data(), 0, 2, 3}, 2, 2, out), Error);
  EXPECT_THROW(resize_bilinear({rgb.data(), 2, 2, 1}, 2, 2, out), Error);
  EXPECT_THROW(resize_bilinear({rgb.data(), 2, 2, 3}, 2, 3, out), Error);
}

}  // namespace
}  // namespace bitmar
