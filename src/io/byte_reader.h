// Reads numbers from untrusted bytes. The caller makes sure that there are enough of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace bitmar {

using ByteSpan = std::span<const std::uint8_t>;

inline std::uint32_t big16(ByteSpan bytes, std::size_t at) { return std::uint32_t{bytes[at]} << 8 | bytes[at + 1]; }
inline std::uint32_t big32(ByteSpan bytes, std::size_t at) { return big16(bytes, at) << 16 | big16(bytes, at + 2); }
inline std::uint32_t little16(ByteSpan bytes, std::size_t at) { return std::uint32_t{bytes[at + 1]} << 8 | bytes[at]; }
inline std::uint32_t little32(ByteSpan bytes, std::size_t at) {
  return little16(bytes, at + 2) << 16 | little16(bytes, at);
}

// False as well where the bytes end before.
inline bool has_text(ByteSpan bytes, std::size_t at, std::string_view text) {
  if (at > bytes.size() || bytes.size() - at < text.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (bytes[at + i] != static_cast<std::uint8_t>(text[i])) return false;
  }
  return true;
}

}  // namespace bitmar
