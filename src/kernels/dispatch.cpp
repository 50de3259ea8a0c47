// Which table runs: the fastest that the build and the processor have and that proves itself first.
#include <array>
#include <cstdlib>
#include <cstring>

#include "kernels/tables.h"

namespace bitmar {

std::span<const Kernels* const> available_kernels() {
  static const auto found = [] {
    struct {
      std::array<const Kernels*, 4> tables{};
      std::size_t count = 0;
    } list;
    for (const Kernels* table : {avx2_kernels(), relaxed_simd_kernels(), simd128_kernels(), &scalar_kernels()}) {
      if (table) list.tables[list.count++] = table;
    }
    return list;
  }();
  return {found.tables.data(), found.count};
}

const Chosen& chosen_kernels() {
  static const Chosen chosen = [] {
    const char* rejected = nullptr;
    const char* wanted = std::getenv("BITMAR_KERNELS");
    for (const Kernels* table : available_kernels()) {
      if (wanted && std::strcmp(wanted, table->name) != 0) continue;
      if (table == &scalar_kernels() || passes_self_check(*table)) return Chosen{table, rejected};
      if (!rejected) rejected = table->name;
    }
    return Chosen{&scalar_kernels(), rejected};
  }();
  return chosen;
}

}  // namespace bitmar
