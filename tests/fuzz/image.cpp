// Photos: PNG and JPEG.
#include "io/image.h"

#include <vector>

#include "fuzz.h"
#include "io/byte_reader.h"
#include "io/crc32.h"
#include "io/resize.h"

namespace {

// So that a change gets past a PNG's checksums, as a forger's would.
std::vector<std::uint8_t> with_checksums(bitmar::Input input) {
  std::vector<std::uint8_t> file(input.begin(), input.end());
  if (!bitmar::has_text(file, 0, "\x89PNG\r\n\x1A\n")) return file;
  for (std::size_t at = 8; at + 12 <= file.size();) {
    const std::size_t length = bitmar::big32(file, at);
    if (length > file.size() - at - 12) break;
    const std::uint32_t sum = bitmar::crc32(bitmar::ByteSpan(file).subspan(at + 4, 4 + length));
    for (std::size_t i = 0; i < 4; ++i) file[at + 8 + length + i] = static_cast<std::uint8_t>(sum >> (24 - 8 * i));
    at += 12 + length;
  }
  return file;
}

}  // namespace

void bitmar::fuzz(Input input) {
  const Image image = decode_image(with_checksums(input));
  require(image.width >= 1 && image.height >= 1);
  require(image.rgb.size() == std::size_t{3} * image.width * image.height);
  std::vector<std::uint8_t> small(3 * 8 * 8);
  resize_bilinear(image.view(), 8, 8, small, scalar_kernels());
}
