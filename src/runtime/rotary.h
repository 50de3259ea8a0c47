// Rotary position embedding (arXiv 2104.09864), half-split form: element j turns with element j + head / 2.
#pragma once

#include <span>
#include <vector>

namespace bitmar {

// The angles of one position, for every frequency of a head: angle_j = position * theta^(-2j / head).
// Held in double and moved one position at a time by angle addition, so that a stream may run for
// ever without a table, and so that no platform's sin or cos takes part.
class RotaryPhase {
 public:
  RotaryPhase(int head, double theta);

  int half() const { return static_cast<int>(step_.size()); }
  void start();    // position 0
  void advance();  // position + 1

  // out_cos, out_sin [head / 2] of this position, or of this position plus that of another phase.
  void write(float* out_cos, float* out_sin) const;
  void write_sum(const RotaryPhase& other, float* out_cos, float* out_sin) const;

 private:
  struct Angle {
    double cos = 1, sin = 0;
  };
  static Angle sum(Angle a, Angle b) { return {a.cos * b.cos - a.sin * b.sin, a.sin * b.cos + a.cos * b.sin}; }

  std::vector<Angle> step_;     // one position's turn, per frequency
  std::vector<Angle> current_;  // this position's
};

// Turns every head of x [heads * head] in place.
void rotate(float* x, int heads, int head, const float* cos, const float* sin);
// The same from x into y.
void rotate(const float* x, int heads, int head, const float* cos, const float* sin, float* y);

}  // namespace bitmar
