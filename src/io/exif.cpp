// The one entry of EXIF that changes a picture (CIPA DC-008).
#include "io/byte_reader.h"
#include "io/image_header.h"

namespace bitmar {

int exif_orientation(ByteSpan tiff) {
  constexpr std::uint32_t kTag = 0x0112, kShort = 3;
  const bool little = has_text(tiff, 0, std::string_view("II*\0", 4));
  if (!little && !has_text(tiff, 0, std::string_view("MM\0*", 4))) return 1;
  const auto u16 = [&](std::size_t at) { return little ? little16(tiff, at) : big16(tiff, at); };
  const auto u32 = [&](std::size_t at) { return little ? little32(tiff, at) : big32(tiff, at); };
  if (tiff.size() < 8) return 1;
  std::size_t at = u32(4);
  if (at > tiff.size() || tiff.size() - at < 2) return 1;
  std::size_t count = u16(at);
  for (at += 2; count && tiff.size() - at >= 12; --count, at += 12) {
    if (u16(at) != kTag) continue;
    const std::uint32_t value = u16(at + 8);
    return u16(at + 2) == kShort && u32(at + 4) == 1 && value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

}  // namespace bitmar
