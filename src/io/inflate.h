// Unpacks zlib data (RFC 1950 and 1951) at a cost that goes with its bytes. Deflate allows any number of blocks that
// hold nothing, each with tables of its own, and the decoders of image libraries build these tables for every one of
// them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace bitmar {

// Bytes from malloc that grow: of the caller, whose decoder is C.
struct Unpacked {
  std::uint8_t* bytes;
  std::size_t size, room;
  bool (*grow)(Unpacked&);  // makes more room, or returns false and leaves all as it is
};

enum class Inflated {
  ok,
  ends_early,
  no_zlib,
  bad_block,
  bad_codes,
  bad_distance,
  too_many_tables,  // for so few bytes
  no_room,
};

// Appends to `to`. The checksum at the end is not compared, as browsers do: PNG has its own. What follows it is
// ignored.
Inflated inflate(std::span<const std::uint8_t> zlib, Unpacked& to);

}  // namespace bitmar
