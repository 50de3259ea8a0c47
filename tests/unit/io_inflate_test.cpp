// Deflate data of zlib (tests/golden/inflate.py), and such as no zlib writes.
#include "io/inflate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace bitmar {
namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes packed(const std::string& name) {
  std::ifstream stream(BITMAR_SOURCE_DIR "/tests/golden/inflate/" + name + ".zlib", std::ios::binary);
  return Bytes((std::istreambuf_iterator<char>(stream)), {});
}

// As inflate.py's body().
Bytes body() {
  Bytes out;
  std::uint32_t state = 1;
  for (std::size_t i = 0; i < 40'000; ++i) {
    state = state * 1664525 + 1013904223;
    if (i < 1500) {
      out.push_back(static_cast<std::uint8_t>(state >> 24));
    } else if (i >= 32'100 && i < 33'400) {
      out.push_back(out[i - 32'000]);
    } else {
      out.push_back(static_cast<std::uint8_t>(i / 1000 % 2 ? i / 97 : 97 + i * i / 7 % 5));
    }
  }
  return out;
}

struct Result {
  Inflated state;
  Bytes bytes;
};

Result unpack(const Bytes& zlib, std::size_t room = 1 << 20) {
  Bytes bytes(room);
  std::size_t size = 0;
  const Inflated state = inflate(zlib, bytes, size);
  bytes.resize(size);
  return {state, bytes};
}

// Bits as RFC 1951 packs them: numbers from their lowest bit, codes from their highest.
class Writer {
 public:
  Writer& number(unsigned value, int bits) {
    for (int i = 0; i < bits; ++i) bit(value >> i & 1);
    return *this;
  }
  Writer& code(unsigned value, int bits) {
    for (int i = bits - 1; i >= 0; --i) bit(value >> i & 1);
    return *this;
  }
  Bytes zlib() const {
    Bytes out(2 + bytes_.size());
    out[0] = 0x78;
    out[1] = 0x01;
    std::copy(bytes_.begin(), bytes_.end(), out.begin() + 2);
    return out;
  }

 private:
  void bit(unsigned value) {
    if (count_++ % 8 == 0) bytes_.push_back(0);
    bytes_.back() = static_cast<std::uint8_t>(bytes_.back() | value << ((count_ - 1) % 8));
  }
  Bytes bytes_;
  int count_ = 0;
};

// A block with tables of its own that holds nothing: its end has a code of one bit.
void empty_block(Writer& w, bool last) {
  w.number(last, 1).number(2, 2).number(0, 5).number(0, 5).number(14, 4);
  for (const int length : {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1})
    w.number(length == 18 || length == 1, 3);
  w.code(1, 1).number(127, 7).code(1, 1).number(107, 7);  // 138 and 118 symbols without a code
  w.code(0, 1).code(0, 1).code(0, 1);                     // the end's code, a distance's, and the end
}

TEST(Inflate, UnpacksAllThatZlibPacks) {
  const Bytes wanted = body();
  for (const char* name : {"huffman", "rle", "fixed", "fast", "best", "blocks", "stored"}) {
    SCOPED_TRACE(name);
    const Result result = unpack(packed(name));
    EXPECT_EQ(result.state, Inflated::ok);
    EXPECT_TRUE(result.bytes == wanted);
  }
}

TEST(Inflate, EndsEarlyAtEveryByte) {
  constexpr std::size_t kChecksum = 4;
  for (const char* name : {"fixed", "best", "stored"}) {
    Bytes file = packed(name);
    file.resize(file.size() - kChecksum);
    EXPECT_EQ(unpack(file).state, Inflated::ok);
    while (!file.empty()) {
      file.resize(file.size() - 1 - file.size() / 50);
      EXPECT_EQ(unpack(file).state, Inflated::ends_early) << name << " " << file.size();
    }
  }
}

TEST(Inflate, EndsWhereThereIsNoMoreRoom) {
  Bytes wanted = body();
  for (const std::size_t room :
       {wanted.size() - 1, wanted.size() / 2, std::size_t{1601}, std::size_t{1}, std::size_t{0}}) {
    wanted.resize(room);
    for (const char* name : {"best", "fixed", "stored"}) {
      const Result result = unpack(packed(name), room);
      EXPECT_EQ(result.state, Inflated::ok) << name << " " << room;
      EXPECT_TRUE(result.bytes == wanted) << name << " " << room;
    }
  }
}

TEST(Inflate, RefusesWhatIsNoDeflate) {
  EXPECT_EQ(unpack({0x78, 0x02, 3, 0}).state, Inflated::no_zlib);                       // header's checksum
  EXPECT_EQ(unpack({0x77, 0x01 + 31 - (0x7701 % 31), 3, 0}).state, Inflated::no_zlib);  // another method
  EXPECT_EQ(unpack({0x78, 0xBB, 0, 0, 0, 0, 3, 0}).state, Inflated::no_zlib);           // with a dictionary
  EXPECT_EQ(unpack(Writer().number(1, 1).number(3, 2).zlib()).state, Inflated::bad_block);
  EXPECT_EQ(unpack({0x78, 0x01, 1, 2, 0, 0xFD, 0xFE, 65, 66}).state, Inflated::bad_block);  // length and complement
  // Fixed codes: length 3 from one byte before the first, symbols and distances that there are not.
  EXPECT_EQ(unpack(Writer().number(1, 1).number(1, 2).code(1, 7).code(0, 5).number(0, 16).zlib()).state,
            Inflated::bad_distance);
  EXPECT_EQ(unpack(Writer().number(1, 1).number(1, 2).code(0xC6, 8).number(0, 16).zlib()).state, Inflated::bad_codes);
  EXPECT_EQ(
      unpack(Writer().number(1, 1).number(1, 2).code(0x30 + 65, 8).code(1, 7).code(30, 5).number(0, 16).zlib()).state,
      Inflated::bad_distance);
  // Tables of too many symbols, of lengths that are no code, and without an end.
  const auto dynamic = [](unsigned literals, unsigned distances) {
    Writer w;
    w.number(1, 1).number(2, 2).number(literals, 5).number(distances, 5);
    return w;
  };
  EXPECT_EQ(unpack(dynamic(30, 0).number(0, 30).zlib()).state, Inflated::bad_codes);
  EXPECT_EQ(unpack(dynamic(0, 30).number(0, 30).zlib()).state, Inflated::bad_codes);
  EXPECT_EQ(unpack(dynamic(0, 0).number(0, 4).number(0b001001001, 12).zlib()).state,
            Inflated::bad_codes);  // three codes of one bit
  Writer repeat = dynamic(0, 0);   // the last length again, before there is one
  repeat.number(0, 4).number(1, 3).number(1, 3).number(0, 6).code(0, 1).number(0, 30);
  EXPECT_EQ(unpack(repeat.zlib()).state, Inflated::bad_codes);
}

TEST(Inflate, BlocksOfNothingAreFewAndCheap) {
  Writer some, many;
  for (int i = 0; i < 16'383; ++i) empty_block(some, false);
  empty_block(some, true);
  EXPECT_EQ(unpack(some.zlib()).state, Inflated::ok);
  for (int i = 0; i < 16'385; ++i) empty_block(many, false);
  EXPECT_EQ(unpack(many.zlib()).state, Inflated::too_many_tables);
  Writer fixed;  // no tables to make: as many as one likes
  for (int i = 0; i < 100'000; ++i) fixed.number(0, 1).number(1, 2).code(0, 7);
  fixed.number(1, 1).number(1, 2).code(0x30 + 65, 8).code(0, 7);
  EXPECT_EQ(unpack(fixed.zlib()).bytes, Bytes{65});
}

}  // namespace
}  // namespace bitmar
