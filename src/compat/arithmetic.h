// What the authors' layers compute. Integer products are the kernels'; all else is in double, from + - * / and the
// square root alone, so that every build gives the same numbers and their float32 is the only one that rounds.
#pragma once

#include <span>
#include <vector>

#include "compat/weights.h"

namespace bitmar::compat {

struct Matrix {
  Matrix() = default;
  Matrix(int row_count, int column_count)
      : rows(row_count), columns(column_count), values(static_cast<std::size_t>(row_count) * column_count) {}

  double* row(int i) { return values.data() + static_cast<std::size_t>(i) * columns; }
  const double* row(int i) const { return values.data() + static_cast<std::size_t>(i) * columns; }

  int rows = 0, columns = 0;
  std::vector<double> values;
};

// Rows `first` and after of x^ (scale * t)^T + bias: [x.rows - first, out]. x^ is x on 256 levels between the smallest
// and the largest number of the whole of x: every row of x takes part, whichever are asked for.
Matrix linear(const Kernels& kernels, const Linear& layer, const Matrix& x, int first = 0);

// Each row with mean 0 and variance 1, times weight plus bias.
Matrix layer_norm(const Norm& norm, const Matrix& x);

void add(const Matrix& x, Matrix& y);           // y += x, or the one row of x to each of y
void gelu(Matrix& x);                           // x * (1 + erf(x / sqrt 2)) / 2 of each number
void softmax(std::span<double> x);              // e^(x - max) / sum
double log_sum_exp(std::span<const double> x);  // ln of the sum of e^x
double erf(double x);                           // to about 1e-14

}  // namespace bitmar::compat
