// The public header's images, by the name that the engine's files use.
#pragma once

#include "bitmar/image.h"

namespace bitmar {

// rgba [pixels, 4] on a white background, to rgb [pixels, 3], which may be the same bytes.
void composite_on_white(const std::uint8_t* rgba, std::size_t pixels, std::uint8_t* rgb);

}  // namespace bitmar
