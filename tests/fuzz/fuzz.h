// What every target shares. Whatever the input: an Error, or an answer; anything else is a finding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "io/error.h"

namespace bitmar {

using Input = std::span<const std::uint8_t>;

inline std::string_view text_of(Input input) { return {reinterpret_cast<const char*>(input.data()), input.size()}; }

// The input of a target; of the fuzzer's own form below.
void fuzz(Input input);

// Takes a byte, 0 at the end.
inline std::uint8_t take(Input& input) {
  if (input.empty()) return 0;
  const std::uint8_t byte = input[0];
  input = input.subspan(1);
  return byte;
}

inline void require(bool condition) {
  if (!condition) __builtin_trap();
}

}  // namespace bitmar

// Of the one file that a target is.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    bitmar::fuzz({data, size});
  } catch (const bitmar::Error& error) {
    bitmar::require(*error.what() != '\0');
  }
  return 0;
}
