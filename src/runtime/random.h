// PCG32 (O'Neill 2014): the same numbers for the same seed on every platform.
#pragma once

#include <cstdint>

namespace bitmar {

class Random {
 public:
  explicit Random(std::uint64_t seed) {
    next();
    state_ += seed;
    next();
  }

  std::uint32_t next() {
    const std::uint64_t old = state_;
    state_ = old * 6364136223846793005u + 1442695040888963407u;
    const auto mixed = static_cast<std::uint32_t>(((old >> 18) ^ old) >> 27);
    const auto turn = static_cast<std::uint32_t>(old >> 59);
    return (mixed >> turn) | (mixed << ((32 - turn) & 31));
  }

  // In [0, 1), every multiple of 2^-32 equally likely.
  double uniform() { return next() * 0x1p-32; }

 private:
  std::uint64_t state_ = 0;
};

}  // namespace bitmar
