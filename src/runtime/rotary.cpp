#include "runtime/rotary.h"

#include <cmath>
#include <cstddef>

namespace bitmar {

namespace {

// x^(1/n) for x >= 1 by Newton's method from above, where it falls monotonically; sqrt and + - * / only.
double root(double x, int n) {
  double r = x;
  for (;;) {
    double power = 1;
    for (int i = 0; i < n - 1; ++i) power *= r;
    const double next = power < 1e300 ? ((n - 1) * r + x / power) / n : r * (n - 1) / n;
    if (!(next < r)) return r;
    r = next;
  }
}

// Taylor series of cos and sin for |x| <= 1: 12 terms each reach double precision.
void cos_sin(double x, double* cos, double* sin) {
  double c = 0, s = 0;
  for (int k = 12; k >= 1; --k) {
    c = (1 - c) * x * x / ((2 * k) * (2 * k - 1));
    s = (1 - s) * x * x / ((2 * k) * (2 * k + 1));
  }
  *cos = 1 - c;
  *sin = x * (1 - s);
}

}  // namespace

RotaryPhase::RotaryPhase(int head, double theta) : step_(static_cast<std::size_t>(head / 2)), current_(step_.size()) {
  if (step_.empty()) return;
  const double ratio = root(theta, half());
  double frequency = 1;
  for (Angle& a : step_) {
    cos_sin(frequency, &a.cos, &a.sin);
    frequency /= ratio;
  }
}

void RotaryPhase::start() {
  for (Angle& a : current_) a = Angle{};
}

void RotaryPhase::advance() {
  for (std::size_t j = 0; j < step_.size(); ++j) current_[j] = sum(current_[j], step_[j]);
}

void RotaryPhase::write(float* out_cos, float* out_sin) const {
  for (std::size_t j = 0; j < step_.size(); ++j) {
    out_cos[j] = static_cast<float>(current_[j].cos);
    out_sin[j] = static_cast<float>(current_[j].sin);
  }
}

void RotaryPhase::write_sum(const RotaryPhase& other, float* out_cos, float* out_sin) const {
  for (std::size_t j = 0; j < step_.size(); ++j) {
    const Angle a = sum(current_[j], other.current_[j]);
    out_cos[j] = static_cast<float>(a.cos);
    out_sin[j] = static_cast<float>(a.sin);
  }
}

void rotate(const float* x, int heads, int head, const float* cos, const float* sin, float* y) {
  const int half = head / 2;
  for (int h = 0; h < heads; ++h, x += head, y += head) {
    for (int j = 0; j < half; ++j) {
      const float a = x[j], b = x[j + half];
      y[j] = a * cos[j] - b * sin[j];
      y[j + half] = b * cos[j] + a * sin[j];
    }
  }
}

void rotate(float* x, int heads, int head, const float* cos, const float* sin) { rotate(x, heads, head, cos, sin, x); }

}  // namespace bitmar
