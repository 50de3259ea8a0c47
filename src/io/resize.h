// Resizes images to the model's size, with the arithmetic that made the training data.
#pragma once

#include <cstdint>
#include <span>

#include "io/image.h"
#include "kernels/kernels.h"

namespace bitmar {

// Bit for bit Pillow's image.convert("RGB").resize((width, height), Image.BILINEAR): the whole image, squashed;
// what is transparent is seen on white first.
// rgb [height, width, 3]
void resize_bilinear(const ImageView& image, int width, int height, std::span<std::uint8_t> rgb,
                     const Kernels& k = kernels());

}  // namespace bitmar
