#include "io/crc32.h"

#include <array>

namespace bitmar {

namespace {

using Tables = std::array<std::array<std::uint32_t, 256>, 8>;

// For eight bytes at a time: [k][b] is byte b followed by k zeros.
Tables make_tables() {
  Tables tables{};
  for (std::uint32_t b = 0; b < 256; ++b) {
    std::uint32_t crc = b;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    tables[0][b] = crc;
  }
  for (std::size_t k = 1; k < 8; ++k) {
    for (std::uint32_t b = 0; b < 256; ++b) {
      tables[k][b] = tables[k - 1][b] >> 8 ^ tables[0][tables[k - 1][b] & 255];
    }
  }
  return tables;
}

}  // namespace

std::uint32_t crc32(ByteSpan bytes, std::uint32_t crc) {
  static const Tables tables = make_tables();  // at run time: as constants they are 8 KB that do not compress
  crc = ~crc;
  std::size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    const std::uint32_t low = little32(bytes, i) ^ crc, high = little32(bytes, i + 4);
    crc = 0;
    for (std::size_t k = 0; k < 4; ++k) {
      crc ^= tables[7 - k][low >> 8 * k & 255] ^ tables[3 - k][high >> 8 * k & 255];
    }
  }
  for (; i < bytes.size(); ++i) crc = crc >> 8 ^ tables[0][(crc ^ bytes[i]) & 255];
  return ~crc;
}

}  // namespace bitmar
