#include "model/stem.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace bitmar {

namespace {

constexpr int kPixelZero = 128;  // the first layer's input is pixel - 128, as int8

using Type = StemLayerConfig::Type;

// Steps of `Step` bytes; the last one may copy some of them again.
template <int Step>
void copy_steps(const std::int8_t* from, int n, std::int8_t* to) {
  for (int i = 0; i + Step <= n; i += Step) std::memcpy(to + i, from + i, Step);
  std::memcpy(to + n - Step, from + n - Step, Step);
}

// memcpy for the few hundred bytes of a window's row: Emscripten's own asks JavaScript from 512 on.
void copy_run(const std::int8_t* from, int n, std::int8_t* to) {
  if (n >= 16) return copy_steps<16>(from, n, to);
  if (n >= 8) return copy_steps<8>(from, n, to);
  for (int i = 0; i < n; ++i) to[i] = from[i];
}

bool is_int8(const Convolution& c) { return !c.int8_weight.empty(); }
int patch_size(const Convolution& c) { return c.kernel_size * c.kernel_size * c.in_channels; }
int padding(const StemLayer& layer) { return layer.config.padding(); }

}  // namespace

void Stem::plan(const std::vector<StemLayer>& layers, Needs& needs) {
  for (const StemLayer& layer : layers) {
    for (const Convolution& c : layer.convolutions) {
      needs.quantised = std::max<std::size_t>(needs.quantised, std::size_t{kRowsAPiece} * patch_size(c));
      needs.accumulators = std::max<std::size_t>(needs.accumulators, std::size_t{kRowsAPiece} * c.out_channels);
      if (is_int8(c) || !c.winograd.empty()) continue;
      needs.kernel_bytes = std::max(needs.kernel_bytes, c.ternary.weight.scratch_bytes(kRowsAPiece));
    }
  }
}

Stem::Stem(const std::vector<StemLayer>& layers, int image_size, Workspace& workspace, Arena& arena)
    : layers_(layers), workspace_(workspace) {
  const auto border_for = [&](std::size_t next) {
    return next < layers.size() && layers[next].config.type == Type::conv ? padding(layers[next]) : 0;
  };
  pixels_ = {.size = image_size, .channels = 3, .border = border_for(0)};
  std::size_t widest = pixels_.elements(), normed = 0, parity[2] = {}, products = 0, product_sums = 0;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const Map& in = i ? maps_[i - 1] : pixels_;
    for (const Convolution& c : layers[i].convolutions) {
      if (c.winograd.empty()) continue;
      const std::size_t sums = std::size_t{WinogradFilter::kProducts} * (in.size / 2) * (in.size + 2);
      product_sums = std::max(product_sums, sums), products = std::max(products, sums * in.channels);
    }
    if (layers[i].config.type == Type::residual) {
      normed = std::max<std::size_t>(normed, in.with_border(padding(layers[i])).elements());
    }
    maps_.push_back({.size = layers[i].config.output_size(in.size),
                     .channels = layers[i].out_channels,
                     .border = border_for(i + 1)});
    widest = std::max<std::size_t>(widest, maps_[i].elements());
    parity[i % 2] = std::max<std::size_t>(parity[i % 2], maps_[i].elements());
  }
  normed_ = arena.take<float>(Purpose::activations, normed);
  quantised_ = arena.take<std::int8_t>(Purpose::activations, std::max(widest, normed));
  winograd_ = arena.take<std::int8_t>(Purpose::activations, products);
  winograd_sums_ = arena.take<std::int32_t>(Purpose::activations, product_sums);
  const std::span<float> shared[2] = {arena.take<float>(Purpose::activations, parity[0]),
                                      arena.take<float>(Purpose::activations, parity[1])};
  for (std::size_t i = 0; i < maps_.size(); ++i) maps_[i].data = shared[i % 2].data();
}

const float* Stem::run(const std::uint8_t* rgb) {
  std::memset(quantised_.data(), 0, pixels_.elements());
  for (int y = 0; y < pixels_.size; ++y) {
    std::int8_t* to = quantised_.data() + pixels_.offset(y, 0);
    for (int x = 0; x < pixels_.size * 3; ++x) to[x] = static_cast<std::int8_t>(*rgb++ - kPixelZero);
  }
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const StemLayer& layer = layers_[i];
    const Map &in = i ? maps_[i - 1] : pixels_, &out = maps_[i];
    switch (layer.config.type) {
      case Type::conv:
        convolve(layer.convolutions[0], in, i ? quantise(in) : 1.0f, out);
        break;
      case Type::residual:
        residual(layer, in, out);
        break;
      case Type::max_pool:
        max_pool(layer, in, out);
        break;
    }
    if (workspace_.observer) observe(i, out);
  }
  return maps_.back().data;
}

// One scale for the whole map: its pixels belong to several patches. The border's zeros change nothing.
float Stem::quantise(const Map& map) {
  map.clear_border();
  return workspace_.kernels.quantize_row(map.data, map.elements(), quantised_.data());
}

// The input is in quantised_, laid out as `in`.
void Stem::convolve(const Convolution& c, const Map& in, float scale, const Map& out) {
  if (!c.winograd.empty()) return convolve_winograd(c, in, scale, out);
  workspace_.for_rows(out.pixels(), [&](int start, int count, const Workspace& own) {
    convolve_strip(c, in, scale, out, start, count, own);
  });
}

// A strip of the output's pixels.
void Stem::convolve_strip(const Convolution& c, const Map& in, float scale, const Map& out, int start, int count,
                          const Workspace& own) const {
  const Kernels& k = own.kernels;
  std::int32_t* acc = own.accumulators.data();
  const std::int8_t* patches = gather(c, in, out.size, start, count, own.quantised.data());
  if (is_int8(c)) {
    k.int8_gemm(c.int8_weight.data(), patches, count, out.channels, patch_size(c), acc);
  } else {
    k.ternary_gemm(c.ternary.weight, patches, count, acc, own.kernel.data());
  }
  finish(c, acc, scale, out, start, count, own);
}

// The same two pixels at once; in and out are of one size, which is even.
static_assert(kWinogradSize <= kRowsAPiece, "a piece of work is a line at least");
void Stem::convolve_winograd(const Convolution& c, const Map& in, float scale, const Map& out) {
  const int pairs = in.size / 2, sums_of_line = WinogradFilter::kProducts * pairs, line = sums_of_line * in.channels;
  workspace_.for_pieces(in.size + 2, [&](int y, const Workspace& own) {
    own.kernels.winograd_input(quantised_.data() + y * in.pitch(), pairs, in.channels, winograd_.data() + y * line,
                               winograd_sums_.data() + y * sums_of_line);
  });
  const int lines = std::max(1, workspace_.rows_a_piece(out.pixels()) / out.size);
  workspace_.for_pieces((out.size + lines - 1) / lines, [&](int piece, const Workspace& own) {
    const int y = piece * lines, count = std::min(lines, out.size - y);
    std::int32_t* acc = own.accumulators.data();
    own.kernels.winograd_gemm(c.winograd, winograd_.data() + y * line, winograd_sums_.data() + y * sums_of_line, count,
                              pairs, acc);
    finish(c, acc, scale, out, y * out.size, count * out.size, own);
  });
}

// Output pixels start .. start + count - 1 of their products.
void Stem::finish(const Convolution& c, const std::int32_t* acc, float scale, const Map& out, int start, int count,
                  const Workspace& own) const {
  const Kernels& k = own.kernels;
  own.observe(c.name, acc, count, out.channels);
  for (int i = 0; i < count; ++i) {
    const std::int32_t* a = acc + i * out.channels;
    if (is_int8(c)) {
      k.affine_rows(a, out.channels, c.int8_scale.data(), c.affine_scale.data(), c.affine_bias.data(), c.relu,
                    out.pixel(start + i));
    } else {
      k.affine(a, out.channels, scale * c.ternary.scale, c.affine_scale.data(), c.affine_bias.data(), c.relu,
               out.pixel(start + i));
    }
  }
}

// The patches under output pixels start .. start + count - 1, in `to` if they have to be put together. [count, kh * kw
// * in]
const std::int8_t* Stem::gather(const Convolution& c, const Map& in, int out_size, int start, int count,
                                std::int8_t* to) const {
  const int kernel = c.kernel_size, stride = c.stride, run = kernel * in.channels;
  if (kernel == 1 && stride == 1) return quantised_.data() + start * in.channels;  // the pixels themselves
  const std::int8_t* const patches = to;
  for (int i = start; i < start + count; ++i) {
    // The border is as wide as the padding, so a window's corner is its place times the stride.
    const std::int8_t* from =
        quantised_.data() + i / out_size * stride * in.pitch() + i % out_size * stride * in.channels;
    for (int ky = 0; ky < kernel; ++ky, to += run, from += in.pitch()) copy_run(from, run, to);
  }
  return patches;
}

// The output's map holds what is between the two convolutions.
void Stem::residual(const StemLayer& layer, const Map& in, const Map& out) {
  Map normed = in.with_border(padding(layer));
  normed.data = normed_.data();
  for (int i = 0; i < 2; ++i) {
    const Map& x = i ? out : in;
    workspace_.for_rows(x.pixels(), [&](int start, int count, const Workspace& own) {
      for (int p = start; p < start + count; ++p) rms_norm(own, x.pixel(p), layer.norms[i], 1, normed.pixel(p));
    });
    convolve(layer.convolutions[i], normed, quantise(normed), out);
  }
  for (int p = 0; p < in.pixels(); ++p) workspace_.kernels.add(in.pixel(p), in.channels, out.pixel(p));
}

// Windows are cut at the map's edge, which is what padding with minus infinity amounts to.
void Stem::max_pool(const StemLayer& layer, const Map& in, const Map& out) {
  const int kernel = layer.config.kernel_size, stride = layer.config.stride, pad = padding(layer);
  workspace_.for_pieces(out.size, [&](int y, const Workspace& own) {
    const int top = std::max(0, y * stride - pad), bottom = std::min(in.size, y * stride - pad + kernel);
    for (int x = 0; x < out.size; ++x) {
      const int left = std::max(0, x * stride - pad), right = std::min(in.size, x * stride - pad + kernel);
      const float* window[StemLayerConfig::kMaxKernel * StemLayerConfig::kMaxKernel];
      int count = 0;
      for (int iy = top; iy < bottom; ++iy) {
        for (int ix = left; ix < right; ++ix) window[count++] = in.data + in.offset(iy, ix);
      }
      own.kernels.maximum(window, count, in.channels, out.data + out.offset(y, x));
    }
  });
}

void Stem::Map::clear_border() const {
  if (border == 0) return;
  const int side = border * channels, whole = border * pitch();
  std::fill_n(data, whole, 0.0f);
  std::fill_n(data + elements() - whole, whole, 0.0f);
  for (int y = 0; y < size; ++y) {
    float* first = data + offset(y, 0);
    std::fill_n(first - side, side, 0.0f);
    std::fill_n(first + size * channels, side, 0.0f);
  }
}

void Stem::observe(std::size_t layer, const Map& map) {
  const std::string name = "stem." + std::to_string(layer);
  for (int i = 0; i < map.pixels(); ++i) workspace_.observe(name, map.pixel(i), 1, map.channels);
}

}  // namespace bitmar
