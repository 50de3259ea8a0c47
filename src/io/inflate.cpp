#include "io/inflate.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace bitmar {

namespace {

// Blocks with tables of their own, each some microseconds of work. Encoders start one for every few thousand bytes.
constexpr std::size_t kFreeTables = 16384, kBytesPerTable = 1024;
constexpr int kMaxLength = 15, kLiterals = 288, kDistances = 32, kEndOfBlock = 256;

// The least significant bit first. Beyond the end come zeros, and ended() is true.
class Bits {
 public:
  explicit Bits(std::span<const std::uint8_t> bytes) : at_(bytes.data()), end_(at_ + bytes.size()) {}

  // 56 bits at least, where there are so many.
  void refill() {
    while (count_ <= 56 && at_ != end_) {
      held_ |= std::uint64_t{*at_++} << count_;
      count_ += 8;
    }
  }
  std::uint32_t peek(int n) const { return static_cast<std::uint32_t>(held_ & ((std::uint64_t{1} << n) - 1)); }
  void drop(int n) {
    held_ >>= n;
    count_ -= n;
  }
  std::uint32_t take(int n) {
    const std::uint32_t value = peek(n);
    drop(n);
    return value;
  }
  bool ended() const { return count_ < 0; }

  void to_byte() {
    if (count_ > 0) drop(count_ & 7);
  }
  // Whole bytes, after to_byte().
  std::size_t copy(std::uint8_t* to, std::size_t n) {
    std::size_t done = 0;
    for (; done < n && count_ >= 8; ++done) to[done] = static_cast<std::uint8_t>(take(8));
    const std::size_t rest = std::min(n - done, static_cast<std::size_t>(end_ - at_));
    if (rest) std::memcpy(to + done, at_, rest);
    at_ += rest;
    return done + rest;
  }

 private:
  const std::uint8_t *at_, *end_;
  std::uint64_t held_ = 0;
  int count_ = 0;
};

// A prefix code of n symbols. Codes of up to `Fast` bits are looked up at once.
template <int N, int Fast>
class Code {
 public:
  // False if the lengths are no code: as in zlib, one is complete, or has at most one symbol, of one bit.
  bool build(const std::uint8_t* lengths, int n) {
    count_.fill(0);
    for (int i = 0; i < n; ++i) ++count_[lengths[i]];
    const bool single = count_[0] >= n - 1 && (count_[0] == n || count_[1] == 1);
    count_[0] = 0;
    int left = 1;
    for (int bits = 1; bits <= kMaxLength; ++bits) {
      left = 2 * left - count_[bits];
      if (left < 0) return false;
    }
    if (left > 0 && !single) return false;

    std::array<std::uint16_t, kMaxLength + 2> next{}, code{};
    for (int bits = 1; bits <= kMaxLength; ++bits) {
      next[bits + 1] = static_cast<std::uint16_t>(next[bits] + count_[bits]);
      code[bits + 1] = static_cast<std::uint16_t>((code[bits] + count_[bits]) << 1);
    }
    fast_.fill(0);
    for (int symbol = 0; symbol < n; ++symbol) {
      const int bits = lengths[symbol];
      if (!bits) continue;
      symbol_[next[bits]++] = static_cast<std::uint16_t>(symbol);
      const std::uint32_t own = code[bits]++;
      if (bits > Fast) continue;
      std::uint32_t reversed = 0;
      for (int i = 0; i < bits; ++i) reversed |= (own >> i & 1) << (bits - 1 - i);
      const auto entry = static_cast<std::uint16_t>(symbol << 4 | bits);
      for (std::uint32_t i = reversed; i < fast_.size(); i += 1u << bits) fast_[i] = entry;
    }
    return true;
  }

  // A symbol, or -1 where the bits are none's.
  int decode(Bits& bits) const {
    if (const unsigned entry = fast_[bits.peek(Fast)]) {
      bits.drop(static_cast<int>(entry & 15));
      return static_cast<int>(entry >> 4);
    }
    // RFC 1951, 3.2.2: codes of a length are consecutive numbers, and follow those of the shorter ones.
    const std::uint32_t ahead = bits.peek(kMaxLength);
    int code = 0, first = 0, index = 0;
    for (int length = 1; length <= kMaxLength; ++length) {
      code |= static_cast<int>(ahead >> (length - 1) & 1);
      if (code - first < count_[length]) {
        bits.drop(length);
        return symbol_[index + code - first];
      }
      index += count_[length];
      first = (first + count_[length]) << 1;
      code <<= 1;
    }
    return -1;
  }

 private:
  std::array<std::uint16_t, kMaxLength + 1> count_;  // of symbols, by the length of their codes
  std::array<std::uint16_t, N> symbol_;              // by code
  std::array<std::uint16_t, 1 << Fast> fast_;        // symbol and length, by the bits ahead; 0: the code is longer
};

struct Codes {
  Code<kLiterals, 10> literal;
  Code<kDistances, 8> distance;
};

const Codes& fixed_codes() {
  static const Codes codes = [] {
    Codes made;
    std::array<std::uint8_t, kLiterals> lengths;  // RFC 1951, 3.2.6
    std::fill_n(lengths.begin(), 144, 8);
    std::fill_n(lengths.begin() + 144, 112, 9);
    std::fill_n(lengths.begin() + 256, 24, 7);
    std::fill_n(lengths.begin() + 280, 8, 8);
    made.literal.build(lengths.data(), kLiterals);
    std::fill_n(lengths.begin(), kDistances, 5);
    made.distance.build(lengths.data(), kDistances);
    return made;
  }();
  return codes;
}

// RFC 1951, 3.2.7
Inflated read_codes(Bits& bits, Codes& codes) {
  constexpr std::uint8_t kOrder[] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
  constexpr int kLengthSymbols = 19, kMostLiterals = 286, kMostDistances = 30;
  bits.refill();
  const int literals = static_cast<int>(bits.take(5)) + 257, distances = static_cast<int>(bits.take(5)) + 1;
  const int given = static_cast<int>(bits.take(4)) + 4;
  if (literals > kMostLiterals || distances > kMostDistances) return Inflated::bad_codes;
  std::array<std::uint8_t, kMostLiterals + kMostDistances> lengths{};
  for (int i = 0; i < given; ++i) {
    bits.refill();
    lengths[kOrder[i]] = static_cast<std::uint8_t>(bits.take(3));
  }
  if (bits.ended()) return Inflated::ends_early;
  Code<kLengthSymbols, 7> length_code;
  if (!length_code.build(lengths.data(), kLengthSymbols)) return Inflated::bad_codes;
  lengths.fill(0);
  for (int n = 0; n < literals + distances;) {
    bits.refill();
    const int symbol = length_code.decode(bits);
    if (symbol < 0) return Inflated::bad_codes;
    if (symbol < 16) {
      lengths[n++] = static_cast<std::uint8_t>(symbol);
      continue;
    }
    if (symbol == 16 && n == 0) return Inflated::bad_codes;
    const std::uint8_t repeated = symbol == 16 ? lengths[n - 1] : std::uint8_t{0};
    const int times = static_cast<int>(symbol == 16   ? 3 + bits.take(2)
                                       : symbol == 17 ? 3 + bits.take(3)
                                                      : 11 + bits.take(7));
    if (times > literals + distances - n) return Inflated::bad_codes;
    std::fill_n(lengths.begin() + n, times, repeated);
    n += times;
  }
  if (bits.ended()) return Inflated::ends_early;
  if (!lengths[kEndOfBlock]) return Inflated::bad_codes;
  const bool made =
      codes.literal.build(lengths.data(), literals) && codes.distance.build(lengths.data() + literals, distances);
  return made ? Inflated::ok : Inflated::bad_codes;
}

// Where the bytes go.
struct Output {
  std::span<std::uint8_t> bytes;
  std::size_t size = 0;

  std::size_t room() const { return bytes.size() - size; }
};

// Ends as well where there is no more room.
Inflated unpack_block(Bits& bits, const Codes& codes, Output& to) {
  // RFC 1951, 3.2.5
  constexpr std::uint16_t kLength[] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                       31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
  constexpr std::uint8_t kLengthBits[] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                          2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
  constexpr std::uint16_t kDistance[] = {1,    2,    3,    4,    5,    7,    9,    13,    17,    25,
                                         33,   49,   65,   97,   129,  193,  257,  385,   513,   769,
                                         1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
  constexpr std::uint8_t kDistanceBits[] = {0, 0, 0, 0, 1, 1, 2, 2,  3,  3,  4,  4,  5,  5,  6,
                                            6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13};
  for (;;) {
    bits.refill();
    const int symbol = codes.literal.decode(bits);
    if (bits.ended()) return Inflated::ends_early;
    if (symbol < 0 || symbol > kEndOfBlock + 29) return Inflated::bad_codes;
    if (symbol == kEndOfBlock) return Inflated::ok;
    if (to.room() == 0) return Inflated::ok;
    if (symbol < kEndOfBlock) {
      to.bytes[to.size++] = static_cast<std::uint8_t>(symbol);
      continue;
    }
    const int l = symbol - kEndOfBlock - 1;
    const std::size_t said = kLength[l] + bits.take(kLengthBits[l]);
    const int d = codes.distance.decode(bits);
    if (d < 0 || d >= 30) return Inflated::bad_distance;
    const std::size_t distance = kDistance[d] + bits.take(kDistanceBits[d]);
    if (bits.ended()) return Inflated::ends_early;
    if (distance > to.size) return Inflated::bad_distance;
    const std::size_t length = std::min(said, to.room());
    std::uint8_t* const out = to.bytes.data() + to.size;
    const std::uint8_t* const from = out - distance;
    if (distance >= length) {
      std::memcpy(out, from, length);
    } else if (distance == 1) {
      std::memset(out, *from, length);
    } else {
      for (std::size_t i = 0; i < length; ++i) out[i] = from[i];
    }
    to.size += length;
  }
}

Inflated copy_block(Bits& bits, Output& to) {
  bits.to_byte();
  std::array<std::uint8_t, 4> head;
  if (bits.copy(head.data(), head.size()) != head.size()) return Inflated::ends_early;
  const unsigned length = head[0] | head[1] << 8, complement = head[2] | head[3] << 8;
  if ((length ^ complement) != 0xFFFF) return Inflated::bad_block;
  const std::size_t wanted = std::min(std::size_t{length}, to.room());
  const std::size_t copied = bits.copy(to.bytes.data() + to.size, wanted);
  to.size += copied;
  return copied == wanted ? Inflated::ok : Inflated::ends_early;
}

}  // namespace

Inflated inflate(std::span<const std::uint8_t> zlib, std::span<std::uint8_t> bytes, std::size_t& size) {
  constexpr unsigned kDeflate = 8, kDictionary = 0x20;
  size = 0;
  if (zlib.size() < 2) return Inflated::ends_early;
  if ((zlib[0] << 8 | zlib[1]) % 31 != 0 || (zlib[0] & 15) != kDeflate || (zlib[1] & kDictionary))
    return Inflated::no_zlib;
  Bits bits(zlib.subspan(2));
  Output to{bytes};
  Codes own;
  std::size_t tables = 0;
  Inflated done = Inflated::ok;
  for (bool last = false; !last && to.room() > 0 && done == Inflated::ok; size = to.size) {
    bits.refill();
    last = bits.take(1) != 0;
    const std::uint32_t kind = bits.take(2);
    if (bits.ended()) return Inflated::ends_early;
    if (kind == 3) return Inflated::bad_block;
    if (kind == 2) {
      if (++tables > kFreeTables + to.size / kBytesPerTable) return Inflated::too_many_tables;
      if (const Inflated read = read_codes(bits, own); read != Inflated::ok) return read;
    }
    done = kind == 0 ? copy_block(bits, to) : unpack_block(bits, kind == 1 ? fixed_codes() : own, to);
  }
  return done;
}

}  // namespace bitmar
