// Bounds on activations for any picture and any prompt, computed from the weights alone.
#pragma once

#include "model/weights.h"

namespace bitmar {

// Of a number in a feature grid that a model is given in place of a picture.
inline constexpr float kMostFeature = 1e6f;

// Throws invalid_model, naming the tensor, where finite weights could make a product that is not finite: infinity and
// NaN have no int8.
void check_magnitudes(const Config& config, const Weights& weights);

}  // namespace bitmar
