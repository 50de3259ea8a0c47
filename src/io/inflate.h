// Unpacks zlib data (RFC 1950 and 1951) at a cost that goes with its bytes. Deflate allows any number of blocks that
// hold nothing, each with tables of its own, and the decoders of image libraries build these tables for every one of
// them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace bitmar {

enum class Inflated {
  ok,
  ends_early,
  no_zlib,
  bad_block,
  bad_codes,
  bad_distance,
  too_many_tables,  // for so few bytes
};

// Fills `to` from its beginning; `size` is then how many bytes there are. What is more than there is room for is
// not looked at, as what follows the end is not, nor the checksum, which browsers do not compare either: PNG has its
// own.
Inflated inflate(std::span<const std::uint8_t> zlib, std::span<std::uint8_t> to, std::size_t& size);

}  // namespace bitmar
