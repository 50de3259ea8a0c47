#include "io/resize.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "io/error.h"

namespace bitmar {

namespace {

constexpr int kBits = 22;  // of the weights' fraction, as in Pillow: 32 less 8 of a pixel, less 2 to spare

// The weights of one direction: a triangle, as wide as two output pixels when shrinking.
struct Weights {
  struct Window {
    int first, count;
  };
  std::vector<Window> windows;       // [out], the input pixels that each output pixel is a mean of
  std::vector<std::int32_t> values;  // [out, widest]
  int widest = 0;

  Weights(int in, int out) {
    const double scale = static_cast<double>(in) / out;
    const double support = std::max(scale, 1.0);
    const double inverse = 1.0 / support;
    widest = static_cast<int>(std::ceil(support)) * 2 + 1;
    values.resize(static_cast<std::size_t>(out) * widest);
    std::vector<double> exact(widest);
    for (int i = 0; i < out; ++i) {
      const double center = (i + 0.5) * scale;
      const int first = std::max(static_cast<int>(center - support + 0.5), 0);
      const int count = std::min(static_cast<int>(center + support + 0.5), in) - first;
      double sum = 0;
      for (int k = 0; k < count; ++k) {
        exact[k] = std::max(1.0 - std::abs((k + first - center + 0.5) * inverse), 0.0);
        sum += exact[k];
      }
      std::int32_t* to = values.data() + static_cast<std::size_t>(i) * widest;
      for (int k = 0; k < count; ++k) {
        if (sum != 0) exact[k] /= sum;
        to[k] = static_cast<std::int32_t>(0.5 + exact[k] * (1 << kBits));
      }
      windows.push_back({first, count});
    }
  }
};

// One output pixel: the weighted mean of `count` pixels that lie `step` bytes apart.
void weigh(const std::uint8_t* from, std::ptrdiff_t step, const std::int32_t* weights, int count, std::uint8_t* to) {
  // Weights are not negative and sum to 1 but for rounding, so that nothing overflows or goes below 0.
  std::int32_t r = 1 << (kBits - 1), g = r, b = r;
  for (int k = 0; k < count; ++k, from += step) {
    r += from[0] * weights[k];
    g += from[1] * weights[k];
    b += from[2] * weights[k];
  }
  to[0] = static_cast<std::uint8_t>(std::min(r >> kBits, 255));
  to[1] = static_cast<std::uint8_t>(std::min(g >> kBits, 255));
  to[2] = static_cast<std::uint8_t>(std::min(b >> kBits, 255));
}

// [rows, in, channels] -> [rows, out, 3]
void resize_rows(const std::uint8_t* from, int rows, int in, int channels, int out, std::uint8_t* to) {
  const Weights weights(in, out);
  for (int y = 0; y < rows; ++y, from += static_cast<std::ptrdiff_t>(in) * channels) {
    const std::int32_t* values = weights.values.data();
    for (const auto [first, count] : weights.windows) {
      weigh(from + static_cast<std::ptrdiff_t>(first) * channels, channels, values, count, to);
      values += weights.widest;
      to += 3;
    }
  }
}

// [in, width, channels] -> [out, width, 3]
void resize_columns(const std::uint8_t* from, int in, int width, int channels, int out, std::uint8_t* to) {
  const Weights weights(in, out);
  const std::ptrdiff_t pitch = static_cast<std::ptrdiff_t>(width) * channels;
  const std::int32_t* values = weights.values.data();
  for (const auto [first, count] : weights.windows) {
    for (int x = 0; x < width; ++x, to += 3) weigh(from + first * pitch + x * channels, pitch, values, count, to);
    values += weights.widest;
  }
}

}  // namespace

// First all rows, to 8 bits, then all columns; a direction whose size stays is left as it is.
void resize_bilinear(const ImageView& image, int width, int height, std::span<std::uint8_t> rgb) {
  if (!image.data || image.width < 1 || image.height < 1 || (image.channels != 3 && image.channels != 4)) {
    throw Error(ErrorCode::invalid_image, "the image has no pixels, or is neither RGB nor RGBA");
  }
  if (width < 1 || height < 1 || rgb.size() != std::size_t{3} * width * height) {
    throw Error(ErrorCode::invalid_argument, "the pixels have no room for their new size");
  }
  if (image.width == width && image.height == height) {
    for (std::size_t i = 0; i < rgb.size() / 3; ++i) std::copy_n(image.data + i * image.channels, 3, &rgb[3 * i]);
  } else if (image.height == height) {
    resize_rows(image.data, image.height, image.width, image.channels, width, rgb.data());
  } else if (image.width == width) {
    resize_columns(image.data, image.height, width, image.channels, height, rgb.data());
  } else {
    std::vector<std::uint8_t> narrow(std::size_t{3} * width * image.height);
    resize_rows(image.data, image.height, image.width, image.channels, width, narrow.data());
    resize_columns(narrow.data(), image.height, width, 3, height, rgb.data());
  }
}

}  // namespace bitmar
