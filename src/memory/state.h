// An episodic memory as bytes: all of it (a snapshot), or what changed since some moment (a frame of the journal).
//
// Both are one format, little-endian, of version 1:
//    0  "BMEM", u32 version, u32 width C, u32 CRC-32 of bytes 0..11     the same in every version to come
//   16  u64 base, u64 sequence, u64 next id
//   40  u32 slots K, u32 flags (1: nothing of before counts), u32 freed slots, u32 records
//   56  u32 CRC-32 of bytes 16..55 and of the freed slots
//   60  u32 index of each freed slot
//       records: u32 slot, u32 uses, f32 strength, u32 label bytes, u64 id, f64 created, f64 last used,
//                64 bytes label, f32 key [C], f32 value [C], u32 CRC-32 of the record before it
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "bitmar/memory.h"
#include "io/byte_reader.h"

namespace bitmar {

struct MemoryStateHeader {
  int width = 0, slots = 0;    // C, K
  std::uint64_t base = 0;      // number of the change that these follow
  std::uint64_t sequence = 0;  // and of the last of these
  std::uint64_t next_id = 1;
  bool cleared = false;                   // nothing of before counts: a snapshot, or the memory was cleared
  std::vector<std::uint32_t> freed = {};  // slots
};

class MemoryStateWriter {
 public:
  MemoryStateWriter(const MemoryStateHeader& header, int records);  // so many will be added
  void add(int slot, const Episode& episode, std::span<const float> key, std::span<const float> value);
  std::vector<std::uint8_t> take() { return std::move(bytes_); }

 private:
  std::vector<std::uint8_t> bytes_;  // as long as it will be
  std::size_t size_ = 0;             // written so far
};

struct MemoryRecord {
  int slot = -1;
  Episode episode;
  std::vector<float> key, value;  // [C]
};

// Reads what it is given, which must outlive it.
class MemoryStateReader {
 public:
  static constexpr int kMaxSlots = 1 << 16;
  static constexpr int kMaxWidth = 1 << 16;

  // Throws unsupported_state of a newer version; invalid_state of what is no state, of another width than `width` and
  // of a damaged header.
  MemoryStateReader(ByteSpan bytes, int width);

  const MemoryStateHeader& header() const { return header_; }
  int records() const { return records_; }  // as the header says
  bool truncated() const { return whole_ < records_; }
  bool exact() const;  // every record is there, and nothing behind them
  // Of any state, whatever its width. Throws as the constructor does.
  static int width_of(ByteSpan bytes);
  // False of a record that is damaged, or behind the end: `record` then holds nothing of use. Its slot is below the
  // header's number of slots; of the rest only the checksum has been looked at.
  bool read(int index, MemoryRecord& record) const;

 private:
  MemoryStateHeader header_;
  ByteSpan data_;
  int records_ = 0, whole_ = 0;
};

}  // namespace bitmar
