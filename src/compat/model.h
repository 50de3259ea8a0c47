// The authors' forward pass, as their published code computes it (docs/compat.md): another arithmetic than BitMar's,
// for converted checkpoints alone. Every call computes the whole text anew; later tokens change what earlier positions
// say.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "compat/arithmetic.h"
#include "compat/config.h"
#include "compat/weights.h"

namespace bitmar::compat {

// Sees every stage by the name that models/bitmar/compat/reference.py gives it. For tests.
using Observer = std::function<void(std::string_view stage, const Matrix& values)>;

// One vector [vision_features] that stands for an image, or none.
using Vision = std::optional<std::span<const float>>;

class Model {
 public:
  // Throws invalid_model, naming the tensor.
  Model(const Config& config, const SafeTensors& file, const Kernels& kernels = bitmar::kernels());

  const Config& config() const { return config_; }

  struct Result {
    Matrix logits;               // [n - first, V]: of the tokens that follow positions `first` and after
    std::vector<double> shares;  // [K] of the memory's slots in what was read; together 1
  };
  // Of n tokens, 1 to max_positions. Throws text_too_long, invalid_argument: no token, one that is none of the
  // vocabulary, a vision vector of another size or with a number that is not finite, `first` beyond the text.
  Result run(std::span<const int> tokens, Vision vision, int first = 0, const Observer& observe = {}) const;

  // What each forward pass of the authors' code does to their memory: slots that were read become more important to the
  // next read. run() leaves the memory as it is, so that a text's logits do not depend on those before it.
  void count_read(std::span<const double> shares);

 private:
  Matrix linear(const Linear& layer, const Matrix& x, int first = 0) const {
    return compat::linear(kernels_, layer, x, first);
  }
  Matrix attention(const Block& block, const Matrix& x, bool causal) const;
  void transform(const Block& block, bool causal, Matrix& x) const;
  Matrix encode(std::span<const int> tokens, const Observer& observe) const;
  Matrix see(std::span<const float> vision) const;
  Matrix fuse(const Matrix& text, const Matrix& seen) const;
  Matrix episode(const Matrix& text, const Matrix& seen, bool vision) const;
  Matrix memory_net(const MemoryNet& net, const Matrix& x) const;
  Matrix read(Matrix episode, std::vector<double>& shares) const;
  Matrix decode(Matrix input, const Observer& observe) const;
  void check(std::span<const int> tokens, const Vision& vision, int first) const;

  Config config_;
  const Kernels& kernels_;
  Weights weights_;
  std::vector<double> importance_;  // [K]
  Matrix keys_, values_;            // [K, d] of the slots: no text changes them
};

}  // namespace bitmar::compat
