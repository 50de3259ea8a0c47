// Pixels to patches: integer convolutions, residual pairs of them, and max pools.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/layers.h"
#include "model/weights.h"

namespace bitmar {

class Stem {
 public:
  Stem(const std::vector<StemLayer>& layers, int image_size, Workspace& workspace, Arena& arena);

  static void plan(const std::vector<StemLayer>& layers, Needs& needs);

  // rgb [S, S, 3] uint8 -> patches [grid * grid, channels] float, row by row. Valid until the next call.
  const float* run(const std::uint8_t* rgb);

 private:
  // A layer's output: [size + 2 border, size + 2 border, channels], zeros in the border, which is as wide as
  // the next convolution's padding.
  struct Map {
    float* data = nullptr;
    int size = 0, channels = 0, border = 0;

    int pixels() const { return size * size; }
    int pitch() const { return (size + 2 * border) * channels; }
    int elements() const { return (size + 2 * border) * pitch(); }
    int offset(int y, int x) const { return (y + border) * pitch() + (x + border) * channels; }
    float* pixel(int i) const { return data + offset(i / size, i % size); }  // counted without the border
    Map with_border(int width) const { return {nullptr, size, channels, width}; }
    void clear_border() const;
  };

  float quantise(const Map& map);
  void convolve(const Convolution& c, const Map& in, float scale, const Map& out);
  void convolve_strip(const Convolution& c, const Map& in, float scale, const Map& out, int start, int count,
                      const Workspace& own) const;
  void convolve_winograd(const Convolution& c, const Map& in, float scale, const Map& out);
  void finish(const Convolution& c, const std::int32_t* acc, float scale, const Map& out, int start, int count,
              const Workspace& own) const;
  const std::int8_t* gather(const Convolution& c, const Map& in, int out_size, int start, int count,
                            std::int8_t* to) const;
  void residual(const StemLayer& layer, const Map& in, const Map& out);
  void max_pool(const StemLayer& layer, const Map& in, const Map& out);
  void observe(std::size_t layer, const Map& map);

  const std::vector<StemLayer>& layers_;
  Workspace& workspace_;
  Map pixels_;                             // the first layer's input; its data is in quantised_
  std::vector<Map> maps_;                  // of each layer; neighbours have different memory
  std::span<float> normed_;                // the map between a residual's norm and its convolution
  std::span<std::int8_t> quantised_;       // the current convolution's input, border included
  std::span<std::int8_t> winograd_;        // or what it makes of that: [size + 2, 4, size / 2, channels]
  std::span<std::int32_t> winograd_sums_;  // [size + 2, 4, size / 2]
};

}  // namespace bitmar
