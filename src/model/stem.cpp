#include "model/stem.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace bitmar {

namespace {

// Pixels of one product: enough to keep the weights busy, few enough for patches to stay in cache.
constexpr int kStrip = 64;
constexpr int kPixelZero = 128;  // the first layer's input is pixel - 128, as int8

bool is_conv(const StemLayer& layer) { return layer.config.type == StemLayerConfig::Type::conv; }
bool is_int8(const StemLayer& layer) { return !layer.int8_weight.empty(); }
int padding(const StemLayer& layer) { return layer.config.kernel_size / 2; }
int patch_size(const StemLayer& layer) {
  return layer.config.kernel_size * layer.config.kernel_size * layer.in_channels;
}
int output_size(const StemLayer& layer, int size) {
  return (size + 2 * padding(layer) - layer.config.kernel_size) / layer.config.stride + 1;
}

}  // namespace

void Stem::plan(const std::vector<StemLayer>& layers, Needs& needs) {
  for (const StemLayer& layer : layers) {
    if (!is_conv(layer)) continue;
    needs.accumulators = std::max<std::size_t>(needs.accumulators, std::size_t{kStrip} * layer.out_channels);
    if (!is_int8(layer)) {
      needs.kernel_bytes = std::max(needs.kernel_bytes, layer.ternary.weight.scratch_bytes(kStrip));
    }
  }
}

Stem::Stem(const std::vector<StemLayer>& layers, int image_size, Workspace& workspace, Arena& arena)
    : layers_(layers), workspace_(workspace) {
  const auto border_for = [&](std::size_t next) {
    return next < layers.size() && is_conv(layers[next]) ? padding(layers[next]) : 0;
  };
  pixels_ = {.size = image_size, .channels = 3, .border = border_for(0)};
  std::size_t widest = pixels_.elements(), patches = 0, parity[2] = {};
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const Map& in = i ? maps_[i - 1] : pixels_;
    if (is_conv(layers[i])) patches = std::max<std::size_t>(patches, std::size_t{kStrip} * patch_size(layers[i]));
    maps_.push_back({.size = output_size(layers[i], in.size), .channels = layers[i].out_channels,
                     .border = border_for(i + 1)});
    widest = std::max<std::size_t>(widest, maps_[i].elements());
    parity[i % 2] = std::max<std::size_t>(parity[i % 2], maps_[i].elements());
  }
  quantised_ = arena.take<std::int8_t>(Purpose::activations, widest);
  patches_ = arena.take<std::int8_t>(Purpose::activations, patches);
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
    const Map& in = i ? maps_[i - 1] : pixels_;
    if (is_conv(layers_[i])) {
      // One scale for the whole map: its pixels belong to several patches. The border's zeros change nothing.
      const float scale = i ? workspace_.kernels.quantize_row(in.data, in.elements(), quantised_.data()) : 1.0f;
      convolve(layers_[i], in, scale, maps_[i]);
    } else {
      max_pool(layers_[i], in, maps_[i]);
    }
    clear_border(maps_[i]);
    if (workspace_.observer) observe(i, maps_[i]);
  }
  return maps_.back().data;
}

void Stem::convolve(const StemLayer& layer, const Map& in, float scale, const Map& out) {
  const Kernels& k = workspace_.kernels;
  const bool relu = layer.config.relu;
  std::int32_t* acc = workspace_.accumulators.data();
  for (int start = 0; start < out.size * out.size; start += kStrip) {
    const int count = std::min(kStrip, out.size * out.size - start);
    const std::int8_t* patches = gather(layer, in, out.size, start, count);
    if (is_int8(layer)) {
      k.int8_gemm(layer.int8_weight.data(), patches, count, out.channels, patch_size(layer), acc);
    } else {
      k.ternary_gemm(layer.ternary.weight, patches, count, acc, workspace_.kernel.data());
    }
    workspace_.observe(layer.name, acc, count, out.channels);
    for (int i = 0; i < count; ++i) {
      const std::int32_t* a = acc + i * out.channels;
      if (is_int8(layer)) {
        k.affine_rows(a, out.channels, layer.int8_scale.data(), layer.affine_scale.data(), layer.affine_bias.data(),
                      relu, out.pixel(start + i));
      } else {
        k.affine(a, out.channels, scale * layer.ternary.scale, layer.affine_scale.data(), layer.affine_bias.data(),
                 relu, out.pixel(start + i));
      }
    }
  }
}

// The patches under output pixels start .. start + count - 1. [count, kh * kw * in]
const std::int8_t* Stem::gather(const StemLayer& layer, const Map& in, int out_size, int start, int count) {
  const int kernel = layer.config.kernel_size, stride = layer.config.stride, run = kernel * in.channels;
  if (kernel == 1 && stride == 1) return quantised_.data() + start * in.channels;  // the pixels themselves
  std::int8_t* to = patches_.data();
  for (int i = start; i < start + count; ++i) {
    // The border is as wide as the padding, so a window's corner is its place times the stride.
    const std::int8_t* from =
        quantised_.data() + i / out_size * stride * in.pitch() + i % out_size * stride * in.channels;
    for (int ky = 0; ky < kernel; ++ky, to += run, from += in.pitch()) std::memcpy(to, from, run);
  }
  return patches_.data();
}

// Windows are cut at the map's edge, which is what padding with minus infinity amounts to.
void Stem::max_pool(const StemLayer& layer, const Map& in, const Map& out) {
  const int kernel = layer.config.kernel_size, stride = layer.config.stride, pad = padding(layer);
  for (int y = 0; y < out.size; ++y) {
    const int top = std::max(0, y * stride - pad), bottom = std::min(in.size, y * stride - pad + kernel);
    for (int x = 0; x < out.size; ++x) {
      const int left = std::max(0, x * stride - pad), right = std::min(in.size, x * stride - pad + kernel);
      float* to = out.data + out.offset(y, x);
      std::copy_n(in.data + in.offset(top, left), in.channels, to);
      for (int iy = top; iy < bottom; ++iy) {
        for (int ix = left; ix < right; ++ix) workspace_.kernels.maximum(in.data + in.offset(iy, ix), in.channels, to);
      }
    }
  }
}

void Stem::clear_border(const Map& map) {
  if (map.border == 0) return;
  const int side = map.border * map.channels, whole = map.border * map.pitch();
  std::fill_n(map.data, whole, 0.0f);
  std::fill_n(map.data + map.elements() - whole, whole, 0.0f);
  for (int y = 0; y < map.size; ++y) {
    float* first = map.data + map.offset(y, 0);
    std::fill_n(first - side, side, 0.0f);
    std::fill_n(first + map.size * map.channels, side, 0.0f);
  }
}

void Stem::observe(std::size_t layer, const Map& map) {
  const std::string name = "stem." + std::to_string(layer);
  for (int i = 0; i < map.size * map.size; ++i) workspace_.observe(name, map.pixel(i), 1, map.channels);
}

}  // namespace bitmar
