// The tables of the instruction sets; nullptr where the build or the processor lacks one.
#pragma once

#include "kernels/kernels.h"

namespace bitmar {

const Kernels* avx512_kernels();
const Kernels* avx2_kernels();
const Kernels* neon_dot_kernels();
const Kernels* neon_kernels();
const Kernels* simd128_kernels();
const Kernels* relaxed_simd_kernels();

}  // namespace bitmar
