#include "io/resize.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "io/error.h"

namespace bitmar {

namespace {

// The weights of one direction: a triangle, as wide as two output samples when shrinking. Every output sample has as
// many, with zeros where its triangle ends earlier.
struct Weights {
  int taps;
  std::vector<std::int32_t> first;   // [out], of the input samples that each output sample is a mean of
  std::vector<std::int32_t> values;  // [out, taps]

  Weights(int in, int out) {
    const double scale = static_cast<double>(in) / out;
    const double support = std::max(scale, 1.0);
    const double inverse = 1.0 / support;
    taps = std::min(static_cast<int>(std::ceil(support)) * 2 + 1, in);
    values.resize(static_cast<std::size_t>(out) * taps);
    std::vector<double> exact(taps);
    for (int i = 0; i < out; ++i) {
      const double center = (i + 0.5) * scale;
      const int begin = std::max(static_cast<int>(center - support + 0.5), 0);
      const int count = std::min(static_cast<int>(center + support + 0.5), in) - begin;
      double sum = 0;
      for (int k = 0; k < count; ++k) {
        exact[k] = std::max(1.0 - std::abs((k + begin - center + 0.5) * inverse), 0.0);
        sum += exact[k];
      }
      first.push_back(std::min(begin, in - taps));
      std::int32_t* to = values.data() + static_cast<std::size_t>(i) * taps + (begin - first.back());
      for (int k = 0; k < count; ++k) {
        if (sum != 0) exact[k] /= sum;
        to[k] = static_cast<std::int32_t>(0.5 + exact[k] * (1 << kWeightBits));
      }
    }
  }
};

bool is_opaque(const std::uint8_t* rgba, int pixels) {
  unsigned all = 255;
  for (std::ptrdiff_t i = 0; i < pixels; ++i) all &= rgba[4 * i + 3];
  return all == 255;
}

// [rows, in, channels] -> [rows, out, 3]
void resize_rows(const Kernels& k, const ImageView& image, int out, std::uint8_t* to) {
  const Weights weights(image.width, out);
  const std::ptrdiff_t pitch = static_cast<std::ptrdiff_t>(image.width) * image.channels;
  std::vector<std::uint8_t> on_white;  // a row
  for (int y = 0; y < image.height; ++y, to += 3 * static_cast<std::ptrdiff_t>(out)) {
    const std::uint8_t* row = image.data + y * pitch;
    int channels = image.channels;
    if (channels == 4 && !is_opaque(row, image.width)) {
      on_white.resize(std::size_t{3} * image.width);
      composite_on_white(row, image.width, on_white.data());
      row = on_white.data();
      channels = 3;
    }
    k.resample_row(row, channels, weights.first.data(), weights.values.data(), weights.taps, out, to);
  }
}

// [in, pitch] -> [out, pitch]
void resize_columns(const Kernels& k, const std::uint8_t* from, int in, int pitch, int out, std::uint8_t* to) {
  const Weights weights(in, out);
  const std::int32_t* values = weights.values.data();
  for (int y = 0; y < out; ++y, values += weights.taps, to += pitch) {
    k.resample_column(from + static_cast<std::ptrdiff_t>(weights.first[y]) * pitch, pitch, values, weights.taps, pitch,
                      to);
  }
}

}  // namespace

// First all rows, to 8 bits, then all columns; a direction whose size stays is left as it is.
void resize_bilinear(const ImageView& image, int width, int height, std::span<std::uint8_t> rgb, const Kernels& k) {
  if (!image.data || image.width < 1 || image.height < 1 || (image.channels != 3 && image.channels != 4)) {
    throw Error(ErrorCode::invalid_image, "the image has no pixels, or is neither RGB nor RGBA");
  }
  if (width < 1 || height < 1 || rgb.size() != std::size_t{3} * width * height) {
    throw Error(ErrorCode::invalid_argument, "the pixels have no room for their new size");
  }
  // Pixels of their own size are weighed all the same when a fourth channel is to go: their weight is one.
  const bool rows = image.width != width || image.channels == 4, columns = image.height != height;
  std::vector<std::uint8_t> narrow(rows && columns ? std::size_t{3} * width * image.height : 0);
  if (rows) resize_rows(k, image, width, columns ? narrow.data() : rgb.data());
  if (columns) resize_columns(k, rows ? narrow.data() : image.data, image.height, 3 * width, height, rgb.data());
  if (!rows && !columns) std::copy_n(image.data, rgb.size(), rgb.data());
}

}  // namespace bitmar
