#include "runtime/elementary.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace bitmar {

namespace {

constexpr double kLn2 = 0.6931471805599453;

}  // namespace

double natural_log(double x) {
  if (!(x > 0)) return -std::numeric_limits<double>::infinity();
  int exponent = 0;
  if (x < 0x1p-1000) {  // subnormals have no exponent to read
    x *= 0x1p100;
    exponent = -100;
  }
  const auto bits = std::bit_cast<std::uint64_t>(x);
  exponent += static_cast<int>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & 0xfffffffffffffu) | 0x3ff0000000000000u);  // [1, 2)
  if (m > 1.4142135623730951) {
    m /= 2;
    ++exponent;
  }
  // ln m = 2 atanh(z), |z| < 0.172: 11 odd terms reach double precision.
  const double z = (m - 1) / (m + 1), z2 = z * z;
  double series = 0;
  for (int k = 21; k >= 1; k -= 2) series = series * z2 + 1.0 / k;
  return exponent * kLn2 + 2 * z * series;
}

double natural_exp(double x) {
  if (x < -700) return 0;
  if (x > 700) return std::numeric_limits<double>::infinity();
  const double n = std::nearbyint(x / kLn2);
  const double r = x - n * kLn2;  // |r| < 0.35: 14 terms
  double series = 1;
  for (int k = 14; k >= 1; --k) series = 1 + series * r / k;
  return series * std::bit_cast<double>(static_cast<std::uint64_t>(static_cast<std::int64_t>(n) + 1023) << 52);
}

}  // namespace bitmar
