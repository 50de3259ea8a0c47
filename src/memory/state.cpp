#include "memory/state.h"

#include <algorithm>
#include <array>
#include <bit>
#include <string>

#include "io/crc32.h"
#include "io/error.h"

namespace bitmar {

namespace {

constexpr std::string_view kMagic = "BMEM";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kPrelude = 16, kHeader = 60;  // bytes
constexpr std::uint32_t kCleared = 1;

std::size_t record_bytes(int width) { return 4 * 4 + 3 * 8 + (Episode::kMaxLabel + 1) + std::size_t{8} * width + 4; }

[[noreturn]] void invalid(const std::string& what) {
  throw Error(ErrorCode::invalid_state, "the saved memory " + what);
}

void put32(std::uint8_t*& to, std::uint32_t v) {
  for (int shift = 0; shift < 32; shift += 8) *to++ = static_cast<std::uint8_t>(v >> shift);
}

void put64(std::uint8_t*& to, std::uint64_t v) {
  put32(to, static_cast<std::uint32_t>(v));
  put32(to, static_cast<std::uint32_t>(v >> 32));
}

void put_floats(std::uint8_t*& to, std::span<const float> values) {
  for (const float v : values) put32(to, std::bit_cast<std::uint32_t>(v));
}

std::uint64_t little64(ByteSpan bytes, std::size_t at) {
  return std::uint64_t{little32(bytes, at + 4)} << 32 | little32(bytes, at);
}

void get_floats(ByteSpan bytes, std::size_t at, int count, std::vector<float>& to) {
  to.resize(count);
  for (float& v : to) {
    v = std::bit_cast<float>(little32(bytes, at));
    at += 4;
  }
}

}  // namespace

MemoryStateWriter::MemoryStateWriter(const MemoryStateHeader& h, int records)
    : bytes_(kHeader + 4 * h.freed.size() + records * record_bytes(h.width)) {
  std::uint8_t* to = std::copy(kMagic.begin(), kMagic.end(), bytes_.data());
  put32(to, kVersion);
  put32(to, h.width);
  put32(to, crc32(ByteSpan(bytes_).first(kPrelude - 4)));
  put64(to, h.base);
  put64(to, h.sequence);
  put64(to, h.next_id);
  put32(to, h.slots);
  put32(to, h.cleared ? kCleared : 0);
  put32(to, static_cast<std::uint32_t>(h.freed.size()));
  put32(to, records);
  std::uint8_t* checksum = to;
  to += 4;
  for (const std::uint32_t slot : h.freed) put32(to, slot);
  size_ = to - bytes_.data();
  put32(checksum, crc32(ByteSpan(bytes_).first(size_).subspan(kHeader),
                        crc32(ByteSpan(bytes_).first(kHeader - 4).subspan(kPrelude))));
}

void MemoryStateWriter::add(int slot, const Episode& e, std::span<const float> key, std::span<const float> value) {
  std::uint8_t *const begin = bytes_.data() + size_, *to = begin;
  put32(to, slot);
  put32(to, e.uses);
  put32(to, std::bit_cast<std::uint32_t>(e.strength));
  put32(to, e.label_length);
  put64(to, e.id);
  put64(to, std::bit_cast<std::uint64_t>(e.created_ms));
  put64(to, std::bit_cast<std::uint64_t>(e.last_used_ms));
  to = std::copy(std::begin(e.label_bytes), std::end(e.label_bytes), to);
  put_floats(to, key);
  put_floats(to, value);
  put32(to, crc32({begin, to}));
  size_ = to - bytes_.data();
}

int MemoryStateReader::width_of(ByteSpan bytes) {
  if (bytes.size() < kPrelude || !has_text(bytes, 0, kMagic) || little32(bytes, 12) != crc32(bytes.first(12))) {
    invalid("is none, or its beginning is damaged");
  }
  if (const std::uint32_t version = little32(bytes, 4); version != kVersion) {
    throw Error(ErrorCode::unsupported_state, "the saved memory is of version " + std::to_string(version) +
                                                  ", this program knows version " + std::to_string(kVersion));
  }
  const std::uint32_t width = little32(bytes, 8);
  if (width < 1 || width > kMaxWidth) invalid("has episodes of width " + std::to_string(width));
  return static_cast<int>(width);
}

MemoryStateReader::MemoryStateReader(ByteSpan bytes, int width) {
  if (const int own = width_of(bytes); own != width) {
    invalid("has episodes of width " + std::to_string(own) + ", the model's have " + std::to_string(width));
  }
  if (bytes.size() < kHeader) invalid("ends within its header");
  const std::uint32_t slots = little32(bytes, 40), flags = little32(bytes, 44), freed = little32(bytes, 48),
                      records = little32(bytes, 52);
  if (freed > (bytes.size() - kHeader) / 4 ||
      little32(bytes, 56) != crc32(bytes.subspan(kHeader, std::size_t{4} * freed), crc32(bytes.subspan(16, 40)))) {
    invalid("has a damaged header");
  }
  header_ = {.width = width,
             .slots = static_cast<int>(slots),
             .base = little64(bytes, 16),
             .sequence = little64(bytes, 24),
             .next_id = little64(bytes, 32),
             .cleared = (flags & kCleared) != 0};
  header_.freed.reserve(freed);
  for (std::uint32_t i = 0; i < freed; ++i) header_.freed.push_back(little32(bytes, kHeader + std::size_t{4} * i));
  const bool in_range = slots >= 1 && slots <= kMaxSlots && records <= slots && header_.base <= header_.sequence &&
                        header_.sequence <= Episode::kMaxId && header_.next_id >= 1 &&
                        header_.next_id <= Episode::kMaxId &&
                        std::all_of(header_.freed.begin(), header_.freed.end(), [&](auto s) { return s < slots; });
  if (!in_range) invalid("has a header that makes no sense");
  data_ = bytes.subspan(kHeader + std::size_t{4} * freed);
  records_ = static_cast<int>(records);
  whole_ = static_cast<int>(std::min<std::size_t>(records, data_.size() / record_bytes(width)));
}

bool MemoryStateReader::exact() const { return data_.size() == records_ * record_bytes(header_.width); }

bool MemoryStateReader::read(int index, MemoryRecord& record) const {
  if (index >= whole_) return false;
  const std::size_t size = record_bytes(header_.width);
  const ByteSpan r = data_.subspan(index * size, size);
  const std::uint32_t slot = little32(r, 0), label_length = little32(r, 12);
  if (little32(r, size - 4) != crc32(r.first(size - 4)) || slot >= static_cast<std::uint32_t>(header_.slots) ||
      label_length > Episode::kMaxLabel) {
    return false;
  }
  record.slot = static_cast<int>(slot);
  record.episode = {.id = little64(r, 16),
                    .created_ms = std::bit_cast<double>(little64(r, 24)),
                    .last_used_ms = std::bit_cast<double>(little64(r, 32)),
                    .uses = little32(r, 4),
                    .strength = std::bit_cast<float>(little32(r, 8)),
                    .label_length = static_cast<std::uint8_t>(label_length)};
  std::copy_n(r.begin() + 40, label_length, record.episode.label_bytes);
  get_floats(r, 40 + Episode::kMaxLabel + 1, header_.width, record.key);
  get_floats(r, 40 + Episode::kMaxLabel + 1 + std::size_t{4} * header_.width, header_.width, record.value);
  return true;
}

}  // namespace bitmar
