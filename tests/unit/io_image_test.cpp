// Photos, and files that claim to be some. Files are written by tests/golden/images.py.
#include "io/image.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "io/error.h"
#include "io/image_header.h"

namespace bitmar {
namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes read(const std::string& name) {
  std::ifstream stream(BITMAR_SOURCE_DIR "/tests/golden/images/" + name, std::ios::binary);
  return Bytes((std::istreambuf_iterator<char>(stream)), {});
}

void expect_error(const Bytes& file, ErrorCode code, const std::string& words) {
  try {
    decode_image(file);
    ADD_FAILURE() << "accepted; expected: " << words;
  } catch (const Error& error) {
    EXPECT_EQ(to_string(error.code()), to_string(code)) << error.what();
    EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what() << "\nexpected: " << words;
  }
}

// All files show the same: (16 x, 20 y, 8 (x + y)), or its red alone. Some are transparent where x < 8, and have an
// alpha of 200 elsewhere.
using Pixel = std::array<int, 3>;
Pixel colour_of(int x, int y) { return {16 * x, 20 * y, 8 * (x + y)}; }
Pixel grey_of(int x, int) { return {16 * x, 16 * x, 16 * x}; }
template <Pixel (*of)(int, int)>
Pixel on_white(int x, int y) {
  Pixel p = of(x, y);
  for (int& c : p) c = x < 8 ? 255 : (200 * c + 55 * 255 + 127) / 255;
  return p;
}

void expect_picture(const std::string& name, int tolerance, Pixel (*expected)(int, int) = colour_of) {
  SCOPED_TRACE(name);
  const Image image = decode_image(read(name));
  ASSERT_EQ(image.width, 16);
  ASSERT_EQ(image.height, 12);
  ASSERT_EQ(image.rgb.size(), 16u * 12 * 3);
  int worst = 0;
  for (int y = 0; y < 12; ++y) {
    for (int x = 0; x < 16; ++x) {
      const Pixel colour = expected(x, y);
      for (int c = 0; c < 3; ++c) worst = std::max(worst, std::abs(image.rgb[(y * 16 + x) * 3 + c] - colour[c]));
    }
  }
  EXPECT_LE(worst, tolerance);
}

TEST(Image, DecodesPng) {
  for (const char* name : {"rgb.png", "rgb16.png", "interlaced.png", "exif6.png"}) expect_picture(name, 0);
  expect_picture("grey.png", 0, grey_of);
  expect_picture("grey16.png", 0, grey_of);
}

TEST(Image, SeesWhatIsTransparentOnWhite) {
  for (const char* name : {"rgba.png", "rgba16.png", "interlaced-rgba.png"})
    expect_picture(name, 0, on_white<colour_of>);
  expect_picture("grey-alpha.png", 0, on_white<grey_of>);
  // One colour of the palette, and one of all.
  expect_picture("palette.png", 0,
                 [](int x, int y) { return x == 5 && y == 0 ? Pixel{255, 255, 255} : colour_of(x, y); });
  expect_picture("key.png", 0, [](int x, int y) { return x == 3 && y == 5 ? Pixel{255, 255, 255} : colour_of(x, y); });
}

TEST(Image, LooksAtNoColourProfile) {
  expect_picture("gamma.png", 0);
  expect_picture("profile.png", 0);
  expect_picture("profile.jpg", 12);
}

TEST(Image, TakesTheFirstImageOfAnAnimation) { expect_picture("animated.png", 0); }

TEST(Image, DecodesJpeg) {
  expect_picture("rgb.jpg", 12);
  expect_picture("progressive.jpg", 12);
  expect_picture("grey.jpg", 12, grey_of);
}

TEST(Image, DecodesWhatLibjpegMends) {
  expect_picture("restart.jpg", 12);
  expect_picture("stray.jpg", 12);
  expect_picture("mjpeg.jpg", 12);
}

// Where a JPEG has segments with this marker.
std::vector<std::size_t> segments(const Bytes& file, int marker) {
  std::vector<std::size_t> found;
  for (std::size_t at = 2; file[at + 1] != 0xDA; at += 2 + 256 * file[at + 2] + file[at + 3]) {
    if (file[at + 1] == marker) found.push_back(at);
  }
  return found;
}

Bytes without(Bytes file, int marker, std::size_t which) {
  const std::size_t at = segments(file, marker).at(which), size = 2 + 256 * file[at + 2] + file[at + 3];
  const auto begin = file.begin() + static_cast<std::ptrdiff_t>(at);
  file.erase(begin, begin + static_cast<std::ptrdiff_t>(size));
  return file;
}

void expect_same(const Bytes& file, const std::string& name) {
  const Image image = decode_image(file), wanted = decode_image(read(name));
  EXPECT_TRUE(std::ranges::equal(image.rgb, wanted.rgb)) << name;
}

TEST(Image, MendsJpegsThatLackATable) {
  const std::size_t tables = segments(read("rgb.jpg"), 0xC4).size();
  ASSERT_GE(tables, 2u);
  for (std::size_t i = 0; i < tables; ++i) expect_same(without(read("rgb.jpg"), 0xC4, i), "rgb.jpg");
  expect_error(without(read("progressive.jpg"), 0xC4, 0), ErrorCode::invalid_image, "Huffman");
  const std::size_t quantisation = segments(read("rgb.jpg"), 0xDB).size();
  for (std::size_t i = 0; i < quantisation; ++i)
    expect_error(without(read("rgb.jpg"), 0xDB, i), ErrorCode::invalid_image, "quantisation");
}

TEST(Image, ToleratesARestartBehindTheLastBlock) {
  for (const char* name : {"rgb.jpg", "progressive.jpg", "restart.jpg"}) {
    Bytes file = read(name);
    for (const int byte : {0xFF, 0xD3, 0xFF, 0xD4}) file.insert(file.end() - 2, static_cast<std::uint8_t>(byte));
    expect_same(file, name);
  }
}

// stb_image takes the last of 256 codes for none, and asserts that it is one.
TEST(Image, RefusesHuffmanTablesThatTheDecoderCannotHold) {
  Bytes file = read("grey.jpg");
  const std::size_t at = segments(file, 0xC4).at(0);
  Bytes table = {0xFF, 0xC4, 1, 19, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 255, 1, 0, 0, 0, 0, 0, 0};
  table.resize(table.size() + 256);
  file.insert(file.begin() + static_cast<std::ptrdiff_t>(at), table.begin(), table.end());
  expect_error(file, ErrorCode::invalid_image, "Huffman");
}

TEST(Image, GoesOnWithThePalettesLastColour) {
  expect_picture("palette-short.png", 0, [](int x, int) { return x == 0 ? Pixel{20, 40, 60} : Pixel{200, 100, 50}; });
}

TEST(Image, TakesUnknownTransformsOfFourChannelsForYcck) {
  Bytes file = read("ycck.jpg");
  file[segments(file, 0xEE).at(0) + 15] = 1;
  expect_same(file, "ycck.jpg");
}

TEST(Image, RefusesUnknownCriticalChunks) {
  Bytes file = read("rgb.png");
  const Bytes chunk = {0, 0, 0, 0, 'Q', 'Q', 'Q', 'Q', 0x80, 0x47, 0xFE, 0x2B};
  file.insert(file.begin() + 33, chunk.begin(), chunk.end());
  expect_error(file, ErrorCode::invalid_image, "critical chunk");
}

TEST(Image, DecodesCmyk) {
  expect_picture("cmyk.jpg", 12);
  expect_picture("cmyk-unmarked.jpg", 12);
  expect_picture("ycck.jpg", 12);
}

TEST(Image, TurnsByExif) {
  for (char o = '2'; o <= '8'; ++o) expect_picture(std::string("orientation") + o + ".jpg", 12);
}

TEST(Image, NamesTheFormatsThatItRefuses) {
  const auto unsupported = [](const std::string& name, const std::string& words) {
    SCOPED_TRACE(name);
    expect_error(read(name), ErrorCode::unsupported_image, words);
  };
  unsupported("photo.gif", "GIF");
  unsupported("photo.webp", "WebP");
  unsupported("photo.bmp", "BMP");
  unsupported("photo.tiff", "TIFF");
}

TEST(Image, RefusesWhatIsNone) {
  expect_error({}, ErrorCode::invalid_image, "empty");
  expect_error(Bytes{'h', 'e', 'l', 'l', 'o'}, ErrorCode::invalid_image, "no image");
  expect_error(Bytes(100), ErrorCode::invalid_image, "no image");
  expect_error(read("empty.png"), ErrorCode::invalid_image, "no pixels");
  expect_error(read("huge.png"), ErrorCode::image_too_large, "30000 x 30000");
}

// Sizes of a JPEG lie behind FF C0, its length and its precision.
Bytes jpeg_of_size(int width, int height) {
  Bytes file = read("rgb.jpg");
  for (std::size_t i = 0; i + 8 < file.size(); ++i) {
    if (file[i] != 0xFF || file[i + 1] != 0xC0) continue;
    file[i + 5] = static_cast<std::uint8_t>(height >> 8);
    file[i + 6] = static_cast<std::uint8_t>(height);
    file[i + 7] = static_cast<std::uint8_t>(width >> 8);
    file[i + 8] = static_cast<std::uint8_t>(width);
    return file;
  }
  return {};
}

TEST(Image, ChecksTheSizeOfJpeg) {
  EXPECT_NO_THROW(decode_image(jpeg_of_size(16, 12)));
  expect_error(jpeg_of_size(0, 12), ErrorCode::invalid_image, "no pixels");
  expect_error(jpeg_of_size(16, 0), ErrorCode::invalid_image, "no pixels");
  expect_error(jpeg_of_size(30000, 30000), ErrorCode::image_too_large, "30000 x 30000");
  expect_error(jpeg_of_size(16385, 1), ErrorCode::image_too_large, "16385 x 1");
  expect_error(jpeg_of_size(10000, 4001), ErrorCode::image_too_large, "10000 x 4001");
}

TEST(Image, RefusesEveryTruncation) {
  for (const char* name : {"rgb.png", "grey.jpg", "rgb.jpg", "progressive.jpg"}) {
    const Bytes whole = read(name);
    ASSERT_FALSE(whole.empty());
    for (std::size_t size = 0; size < whole.size(); ++size) {
      try {
        decode_image(std::span(whole).first(size));
        ADD_FAILURE() << name << " is accepted after " << size << " of " << whole.size() << " bytes";
        break;
      } catch (const Error& error) {
        ASSERT_EQ(to_string(error.code()), "invalid_image") << error.what();
      }
    }
  }
}

TEST(Image, TakesWhatCamerasPutBehindAJpeg) {
  Bytes file = read("rgb.jpg");
  file.insert(file.end(), 1000, 0xAB);
  EXPECT_NO_THROW(decode_image(file));
}

std::uint32_t crc32(std::span<const std::uint8_t> bytes) {
  std::uint32_t c = ~0u;
  for (const std::uint8_t b : bytes) {
    c ^= b;
    for (int bit = 0; bit < 8; ++bit) c = c & 1 ? 0xEDB88320u ^ c >> 1 : c >> 1;
  }
  return ~c;
}

// So that damage to a PNG is not always noticed by its checksums, but gets as far as the decoder.
void mend_checksums(Bytes& png) {
  for (std::size_t at = 8; at + 12 <= png.size();) {
    const std::size_t length = std::size_t{png[at]} << 24 | png[at + 1] << 16 | png[at + 2] << 8 | png[at + 3];
    if (length > png.size() - at - 12) return;
    const std::uint32_t c = crc32(std::span(png).subspan(at + 4, 4 + length));
    for (std::size_t i = 0; i < 4; ++i) png[at + 8 + length + i] = static_cast<std::uint8_t>(c >> (24 - 8 * i));
    at += 12 + length;
  }
}

TEST(Image, SurvivesDamage) {
  std::mt19937 random(1);
  for (const char* name : {"rgb.png", "rgba.png", "palette.png", "grey16.png", "rgb.jpg", "progressive.jpg", "grey.jpg",
                           "orientation6.jpg"}) {
    const Bytes whole = read(name);
    for (int round = 0; round < 400; ++round) {
      Bytes file = whole;
      for (auto n = 1 + random() % 4; n; --n) {
        constexpr std::uint8_t kTelling[] = {0x00, 0x01, 0x7F, 0x80, 0xFF, 0xC0, 0xC2, 0xDA};
        file[2 + random() % (file.size() - 2)] =
            random() % 2 ? static_cast<std::uint8_t>(random()) : kTelling[random() % 8];
      }
      if (random() % 2) mend_checksums(file);
      try {
        const Image image = decode_image(file);
        ASSERT_EQ(image.rgb.size(), std::size_t{3} * image.width * image.height);
      } catch (const Error&) {
      }
    }
  }
}

// ---- Limits before work ----

Bytes hostile(const std::string& name) {
  std::ifstream stream(BITMAR_SOURCE_DIR "/tests/hostile/" + name, std::ios::binary);
  return Bytes((std::istreambuf_iterator<char>(stream)), {});
}

// A progressive JPEG by the scans that libjpeg makes, its data zeros: `bytes` of them in each scan, and in those of the
// means (DC) a bit for each block if `whole`.
Bytes progressive(int width, int height, std::size_t bytes, int times = 1, bool whole = true) {
  const std::size_t blocks = static_cast<std::size_t>((width + 15) / 16) * ((height + 15) / 16) * 6;
  Bytes file = {0xFF, 0xD8, 0xFF, 0xC2, 0, 17, 8, 0, 0, 0, 0, 3, 1, 0x22, 0, 2, 0x11, 0, 3, 0x11, 0};
  file[7] = static_cast<std::uint8_t>(height >> 8), file[8] = static_cast<std::uint8_t>(height);
  file[9] = static_cast<std::uint8_t>(width >> 8), file[10] = static_cast<std::uint8_t>(width);
  file.insert(file.end(), {0xFF, 0xDB, 0, 67, 0});  // a quantisation table, and Huffman tables of one code
  file.resize(file.size() + 64, 1);
  for (const int id : {0x00, 0x10}) {
    file.insert(file.end(), {0xFF, 0xC4, 0, 20, static_cast<std::uint8_t>(id), 1});
    file.resize(file.size() + 16);
  }
  const auto scan = [&](const Bytes& channels, const Bytes& band) {
    const auto count = static_cast<std::uint8_t>(channels.size());
    const auto put = [&](Bytes more) { file.insert(file.end(), more.begin(), more.end()); };
    put({0xFF, 0xDA, 0, static_cast<std::uint8_t>(6 + 2 * count), count});
    for (const std::uint8_t channel : channels) put({channel, 0});
    put(band);
    file.resize(file.size() + std::max(bytes, whole && band[0] == 0 ? blocks / 8 + 1 : 0));
  };
  scan({1, 2, 3}, {0, 0, 0x01});
  for (int i = 0; i < times; ++i) {
    scan({1}, {1, 5, 0x02});
    scan({3}, {1, 63, 0x01});
    scan({2}, {1, 63, 0x01});
    scan({1}, {6, 63, 0x02});
    scan({1}, {1, 63, 0x21});
    scan({1, 2, 3}, {0, 0, 0x10});
    scan({3}, {1, 63, 0x10});
    scan({2}, {1, 63, 0x10});
    scan({1}, {1, 63, 0x10});
  }
  file.insert(file.end(), {0xFF, 0xD9});
  return file;
}

// Of a fifth of a bit a pixel, what a photo of the worst quality takes, and of two bits.
TEST(Image, TakesPhotosOf40Megapixels) {
  for (const auto& [width, height] : {std::pair(7300, 5475), std::pair(16384, 2441), std::pair(4000, 3000)}) {
    for (const std::size_t part : {40, 4}) {
      const std::size_t bytes = static_cast<std::size_t>(width) * height / part;
      const ImageHeader header = read_jpeg_header(progressive(width, height, bytes / 10));
      EXPECT_EQ(header.width, width);
      EXPECT_EQ(header.height, height);
    }
  }
}

TEST(Image, CountsScansByPixels) {
  EXPECT_NO_THROW(read_jpeg_header(progressive(640, 480, 2000, 20)));
  EXPECT_NO_THROW(read_jpeg_header(progressive(4000, 3000, 1000)));
  expect_error(progressive(4000, 3000, 1000, 3), ErrorCode::image_too_large, "scans");
  expect_error(hostile("slow-progressive.jpg"), ErrorCode::image_too_large, "too many for 31782 bytes that code them");
}

TEST(Image, RefusesPixelsThatItsBytesCannotHold) {
  expect_error(progressive(3000, 2000, 5000, 1, false), ErrorCode::invalid_image,
               "more pixels than its bytes can hold");
  expect_error(progressive(6320, 6320, 150, 1, false), ErrorCode::image_too_large, "bytes that code them");
  Bytes claims = jpeg_of_size(1600, 1200);
  expect_error(claims, ErrorCode::invalid_image, "more pixels than its bytes can hold");
}

// Where a marker ends the coded data, stb_image took more bits than it had. The sanitizers look on.
TEST(Image, KeepsTheDecoderFromShiftingTooFar) {
  const Bytes whole = hostile("stb-shift.jpg");
  ASSERT_EQ(whole.size(), 262u);
  for (std::size_t cut = 0; cut < 120; ++cut) {
    Bytes file = whole;
    file.erase(file.end() - 2 - static_cast<std::ptrdiff_t>(cut), file.end() - 2);
    try {
      decode_image(file);
    } catch (const Error&) {
    }
  }
}

TEST(Image, UnpacksAPngToItsPixelsOnly) {
  // 588 bytes of pixels, and 8 MB in the file.
  const Image image = decode_image(read("bomb.png"));
  EXPECT_TRUE(std::ranges::all_of(image.rgb, [](std::uint8_t v) { return v == 0; }));
  // And of interlaced pixels just so many: one byte less is too few.
  const ImageHeader header = read_png_header(read("interlaced-rgba.png"));
  EXPECT_EQ(header.unpacked, (1u + 2 * 4) * 2 + (1u + 2 * 4) * 2 + (1u + 4 * 4) * 1 + (1u + 4 * 4) * 3 +
                                 (1u + 8 * 4) * 3 + (1u + 8 * 4) * 6 + (1u + 16 * 4) * 6);
}

TEST(ImageView, TellsRgbFromRgba) {
  const Bytes pixels(24);
  EXPECT_EQ(image_view(std::span(pixels).first(18), 3, 2).channels, 3);
  EXPECT_EQ(image_view(pixels, 3, 2).channels, 4);
  EXPECT_THROW(image_view(pixels, 3, 3), Error);
  EXPECT_THROW(image_view({}, 0, 0), Error);
  EXPECT_THROW(image_view(pixels, -3, -2), Error);
  EXPECT_THROW(image_view(pixels, 30000, 30000), Error);
}

}  // namespace
}  // namespace bitmar
