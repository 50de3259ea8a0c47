// CRC-32 as PNG, gzip and zip use it (ISO 3309, polynomial 0xEDB88320 reflected).
#pragma once

#include "io/byte_reader.h"

namespace bitmar {

// `crc` is that of the bytes before, 0 for none.
std::uint32_t crc32(ByteSpan bytes, std::uint32_t crc = 0);

}  // namespace bitmar
