// Lets tests and debuggers look into the forward pass. In normal use there is no observer.
#pragma once

#include <cstdint>
#include <string_view>

namespace bitmar {

class Observer {
 public:
  virtual ~Observer() = default;
  // The integer accumulators of a quantised layer, before any scale. [rows, columns]
  virtual void accumulators(std::string_view layer, const std::int32_t* values, int rows, int columns) = 0;
  // A stage's output, named as in models/bitmar. [rows, columns]
  virtual void values(std::string_view stage, const float* values, int rows, int columns) = 0;
};

}  // namespace bitmar
