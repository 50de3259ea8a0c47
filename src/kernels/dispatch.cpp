// Chooses the kernel table: the fastest that the build and the processor have and that passes its self-check.
#include <array>
#include <cstdlib>
#include <cstring>

#include "kernels/tables.h"

namespace bitmar {

std::span<const Kernels* const> available_kernels() {
  static const auto found = [] {
    struct {
      std::array<const Kernels*, 7> tables{};
      std::size_t count = 0;
    } list;
    for (const Kernels* table : {avx512_kernels(), avx2_kernels(), neon_dot_kernels(), neon_kernels(),
                                 relaxed_simd_kernels(), simd128_kernels(), &scalar_kernels()}) {
      if (table) list.tables[list.count++] = table;
    }
    return list;
  }();
  return {found.tables.data(), found.count};
}

Chosen choose_kernels(std::span<const Kernels* const> candidates, const char* name) {
  const char* rejected = nullptr;
  bool known = !name || !*name;
  for (const Kernels* table : candidates) {
    if (name && *name && std::strcmp(name, table->name) != 0) continue;
    known = true;
    if (table == &scalar_kernels() || passes_self_check(*table)) return {table, rejected, known};
    if (!rejected) rejected = table->name;
  }
  return {&scalar_kernels(), rejected, known};
}

const Chosen& chosen_kernels() {
#ifdef __EMSCRIPTEN__
  const char* const wanted = nullptr;  // a page has no environment
#else
  const char* const wanted = std::getenv("BITMAR_KERNELS");
#endif
  static const Chosen chosen = choose_kernels(available_kernels(), wanted);
  return chosen;
}

}  // namespace bitmar
