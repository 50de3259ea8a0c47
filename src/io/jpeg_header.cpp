// Reads JPEG markers (ITU T.81, annex B) and the orientation in EXIF. The decoder fills the missing part of a truncated
// file with grey, so truncation is noticed here. What libjpeg, and with it browsers, reads beyond the decoder is
// mended.
#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/byte_reader.h"
#include "io/error.h"
#include "io/image_header.h"

namespace bitmar {

namespace {

enum Marker : unsigned {
  TEM = 0x01,
  SOF0 = 0xC0,
  SOF2 = 0xC2,
  DHT = 0xC4,
  JPG = 0xC8,
  DAC = 0xCC,
  SOF15 = 0xCF,
  RST0 = 0xD0,
  RST7 = 0xD7,
  SOI = 0xD8,
  EOI = 0xD9,
  SOS = 0xDA,
  DQT = 0xDB,
  APP0 = 0xE0,
  APP1 = 0xE1,
  APP14 = 0xEE,
  APP15 = 0xEF,
  COM = 0xFE
};

[[noreturn]] void fail(const char* message) { throw Error(ErrorCode::invalid_image, message); }
[[noreturn]] void fail_truncated() { fail("the JPEG is truncated"); }
[[noreturn]] void refuse(const char* what) {
  throw Error(ErrorCode::unsupported_image, std::string(what) + " JPEG is not supported");
}

// What the frame says of the image, and what its scans cost.
class Frame {
 public:
  explicit Frame(ByteSpan file) : file_(file) {}

  int width() const { return width_; }
  int height() const { return height_; }
  int scans() const { return scans_; }
  bool lacks_tables() const { return lacks_tables_; }  // that libjpeg has ready
  bool is_cmyk() const { return components_.size() == 4; }

  void read(unsigned marker, ByteSpan segment) {
    if (marker > SOF2) refuse(marker < 0xC8 ? "lossless or hierarchical" : "arithmetic coded");
    if (segment.size() < 6 || segment.size() != 6 + 3 * std::size_t{segment[5]}) fail("the JPEG has a broken frame");
    if (segment[0] != 8) refuse("12-bit");
    if (segment[5] != 1 && segment[5] != 3 && segment[5] != 4)
      fail("the JPEG has neither one nor three nor four channels");
    if (width_) fail("the JPEG has two frames");
    progressive_ = marker == SOF2;
    height_ = static_cast<int>(big16(segment, 1));
    width_ = static_cast<int>(big16(segment, 3));
    if (!width_ || !height_) fail("the JPEG has no pixels");
    check_image_size(width_, height_);
    check_density(width_, height_, file_.size());
    for (std::size_t at = 6; at < segment.size(); at += 3) {
      const Component c{segment[at], segment[at + 1] >> 4, segment[at + 1] & 15, segment[at + 2]};
      if (c.across < 1 || c.across > 4 || c.down < 1 || c.down > 4) fail("the JPEG has a broken frame");
      across_ = std::max(across_, c.across);
      down_ = std::max(down_, c.down);
      components_.push_back(c);
    }
  }

  // A scan and the number of its coded bytes: whether they can hold its blocks, and whether the work is in proportion.
  void add_scan(ByteSpan segment, std::size_t coded) {
    if (!width_) fail("the JPEG has no frame");
    const std::size_t count = segment.empty() ? 0 : segment[0];
    if (count < 1 || count > components_.size() || segment.size() != 4 + 2 * count) fail("the JPEG has a broken scan");
    std::uint64_t blocks = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const auto found = std::find_if(components_.begin(), components_.end(),
                                      [&](const Component& c) { return c.id == segment[1 + 2 * i]; });
      if (found == components_.end()) fail("the JPEG has a broken scan");
      blocks += blocks_of(*found, count == 1);
      if (found->quantisation > 3 || !quantisation_[found->quantisation]) fail("the JPEG lacks a quantisation table");
    }
    const unsigned first = segment[1 + 2 * count], last = segment[2 + 2 * count];
    if (last > 63 || first > last) fail("the JPEG has a broken scan");
    check_tables_of(segment, count, first, segment[3 + 2 * count] >> 4);
    // No block has less than a bit for its mean and, of a baseline scan, one for its end.
    const std::uint64_t bits = !progressive_ ? 2 * blocks : first == 0 ? blocks : 0;
    if (bits > 8 * (std::uint64_t{coded} + 1)) fail("the JPEG claims more pixels than its bytes can hold");
    const std::uint64_t band = !progressive_ ? 63 : first == 0 ? 0 : last - first + 1;
    ++scans_;
    coded_ += coded;
    add_work(kWorkOfScan + blocks * (1 + band / 4));
  }

  // id: class and number, as in the file
  void add_huffman_table(unsigned id) {
    if ((id >> 4) > 1 || (id & 15) > 3) fail("the JPEG has a broken Huffman table");
    huffman_[id >> 4][id & 15] = true;
    ++tables_;
    add_work(kWorkOfTable);
  }

  void add_quantisation_tables(ByteSpan segment) {
    while (!segment.empty()) {
      const std::size_t bytes = segment[0] >> 4 ? 129 : 65;
      if ((segment[0] >> 4) > 1 || (segment[0] & 15) > 3 || segment.size() < bytes)
        fail("the JPEG has a broken quantisation table");
      quantisation_[segment[0] & 15] = true;
      segment = segment.subspan(bytes);
    }
  }

  // Of all scans; what else the file has beside them is no pixel.
  std::size_t coded() const { return coded_; }
  // Bytes of the largest plane of coefficients, or of the image.
  std::size_t largest() const {
    return std::max(plane_pixels({.id = 0, .across = across_, .down = down_, .quantisation = 0}) * sizeof(std::int16_t),
                    image_bytes());
  }
  // The planes, of a progressive image with their coefficients, and the image made of them.
  std::size_t memory() const {
    std::size_t planes = 0;
    for (const Component& c : components_) planes += plane_pixels(c);
    return planes * (progressive_ ? 1 + sizeof(std::int16_t) : 1) + image_bytes();
  }

 private:
  struct Component {
    unsigned id;
    int across, down;  // blocks in a unit of interleaved ones
    unsigned quantisation = 0;
  };

  // Each component of a scan names a table for its mean, one for the rest, or both.
  void check_tables_of(ByteSpan segment, std::size_t count, unsigned first, unsigned high) {
    for (std::size_t i = 0; i < count; ++i) {
      const unsigned both = segment[2 + 2 * i], names[] = {both >> 4, both & 15};
      const bool wanted[] = {first == 0 && high == 0, !progressive_ || first > 0};
      for (int kind = 0; kind < 2; ++kind) {
        if (!wanted[kind] || (names[kind] <= 3 && huffman_[kind][names[kind]])) continue;
        if (progressive_ || names[kind] > 1) fail("the JPEG lacks a Huffman table");
        lacks_tables_ = true;
      }
    }
  }

  // 3 to 10 ns each: a visit to a block, or four of its coefficients. Twelve megapixels by ten scans, as a progressive
  // photo comes, are 14 million; beyond that there must be coded bytes that want to be read. The largest photo, of 40
  // megapixels without subsampling, has 76 million; nothing has more than kMostWork.
  static constexpr std::uint64_t kFreeWork = 24'000'000, kMostWork = 100'000'000, kWorkPerByte = 40, kWorkOfScan = 8;
  static constexpr std::uint64_t kWorkOfTable = 800;  // built twice where it comes before the frame

  void add_work(std::uint64_t work) {
    work_ += work;
    if (work_ > std::min(kMostWork, kFreeWork + kWorkPerByte * coded_)) {
      throw Error(ErrorCode::image_too_large, "the JPEG has " + std::to_string(scans_) + " scans and " +
                                                  std::to_string(tables_) + " tables or more, too much work for " +
                                                  std::to_string(coded_) + " coded bytes");
    }
  }

  std::size_t image_bytes() const { return std::size_t{3} * width_ * height_; }
  std::size_t plane_pixels(const Component& c) const {
    return std::size_t{mcus(width_, across_)} * c.across * mcus(height_, down_) * c.down * 64;
  }
  static unsigned mcus(int size, int factor) { return static_cast<unsigned>((size + 8 * factor - 1) / (8 * factor)); }
  std::uint64_t blocks_of(const Component& c, bool alone) const {
    if (!alone) return std::uint64_t{mcus(width_, across_)} * mcus(height_, down_) * (c.across * c.down);
    const int w = (width_ * c.across + across_ - 1) / across_, h = (height_ * c.down + down_ - 1) / down_;
    return std::uint64_t{mcus(w, 1)} * mcus(h, 1);
  }

  ByteSpan file_;
  bool progressive_ = false, lacks_tables_ = false;
  bool quantisation_[4] = {}, huffman_[2][4] = {};  // those that there are
  int width_ = 0, height_ = 0, across_ = 1, down_ = 1, scans_ = 0, tables_ = 0;
  std::vector<Component> components_;
  std::size_t coded_ = 0;
  std::uint64_t work_ = 0;
};

// stb_image 2.27 writes a table of more than 256 codes past its end, and takes the last of 256 for none.
void check_huffman_tables(ByteSpan segment, Frame& frame) {
  constexpr std::size_t kLengths = 16, kHead = 1 + kLengths;
  while (!segment.empty()) {
    std::size_t codes = 0;
    if (segment.size() < kHead) fail("the JPEG has a broken Huffman table");
    for (std::size_t i = 1; i < kHead; ++i) codes += segment[i];
    if (codes > 255 || segment.size() < kHead + codes) fail("the JPEG has a broken Huffman table");
    frame.add_huffman_table(segment[0]);
    segment = segment.subspan(kHead + codes);
  }
}

// Coded data to the next marker that is no restart.
std::size_t skip_scan(ByteSpan file, std::size_t at) {
  for (; at + 1 < file.size(); ++at) {
    if (file[at] != 0xFF) continue;
    const unsigned next = file[at + 1];
    if (next != 0x00 && next != 0xFF && !(next >= RST0 && next <= RST7)) return at;
  }
  fail_truncated();
}

// The tables that nearly all JPEGs have (ITU T.81, annex K.3.3), and which Motion JPEG leaves out: codes by their
// lengths, and their symbols. Those of the coefficients begin with the frequent ones, and go on by rule.
struct HuffmanTable {
  std::uint8_t id;
  std::array<std::uint8_t, 16> counts;
  std::string_view frequent;  // symbols, as hexadecimal digits
};
constexpr HuffmanTable kUsualTables[] = {
    {0x00, {0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0}, "000102030405060708090a0b"},
    {0x01, {0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0}, "000102030405060708090a0b"},
    {0x10,
     {0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7d},
     "01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a"},
    {0x11,
     {0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77},
     "0001020311040521310612415107617113223281081442"
     "91a1b1c109233352f0156272d10a162434e125f11718191a262728292a"}};

void append_usual_tables(std::vector<std::uint8_t>& to) {
  for (const HuffmanTable& table : kUsualTables) {
    const std::size_t begin = to.size();
    to.insert(to.end(), {0xFF, DHT, 0, 0, table.id});
    to.insert(to.end(), table.counts.begin(), table.counts.end());
    std::array<bool, 256> there{};
    const auto add = [&](unsigned symbol) {
      to.push_back(static_cast<std::uint8_t>(symbol));
      there[symbol] = true;
    };
    const auto digit = [](char c) { return static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10); };
    for (std::size_t i = 0; i < table.frequent.size(); i += 2)
      add(16 * digit(table.frequent[i]) + digit(table.frequent[i + 1]));
    // The others: each run of zeros with each size of up to ten bits.
    if (table.id >= 0x10) {
      for (unsigned run = 0; run < 16; ++run) {
        for (unsigned size = 1; size <= 10; ++size) {
          if (!there[16 * run + size]) add(16 * run + size);
        }
      }
    }
    const std::size_t length = to.size() - begin - 2;
    to[begin + 2] = static_cast<std::uint8_t>(length >> 8);
    to[begin + 3] = static_cast<std::uint8_t>(length);
  }
}

// Calls f with the marker of each segment, all its bytes with those of its scan, what it says, and how many bytes its
// scan has. As libjpeg, skips what comes between segments; -> whether there was something.
template <class F>
bool for_each_segment(ByteSpan file, const F& f) {
  bool stray = false;
  for (std::size_t at = 2;;) {
    while (at < file.size() && file[at] != 0xFF) {
      ++at;
      stray = true;
    }
    if (at + 2 > file.size()) fail_truncated();
    const unsigned marker = file[at + 1];
    if (marker == 0xFF) {  // a byte of padding
      ++at;
      continue;
    }
    const std::size_t begin = at;
    at += 2;
    if (marker == EOI) return stray;
    if (marker == 0 || marker == TEM || (marker >= RST0 && marker <= RST7)) {
      stray = true;
      continue;
    }
    if (marker == SOI) fail("the JPEG has a marker out of place");
    if (file.size() - at < 2) fail_truncated();
    const std::size_t length = big16(file, at);
    if (length < 2) fail("the JPEG has a broken segment");
    if (file.size() - at < length) fail_truncated();
    const ByteSpan segment = file.subspan(at + 2, length - 2);
    at += length;
    const std::size_t data = at;
    if (marker == SOS) at = skip_scan(file, at);
    std::size_t end = at;  // without restarts of nothing, which the decoder takes for segments
    while (end >= data + 2 && file[end - 2] == 0xFF && file[end - 1] >= RST0 && file[end - 1] <= RST7) end -= 2;
    stray |= end < at;
    f(marker, file.subspan(begin, end - begin), segment, end - data);
  }
}

// A JPEG that the decoder reads as libjpeg reads the file: without notes and what lies between segments, with the
// tables that are missing, and with Adobe's mark on four channels, which are CMYK.
std::vector<std::uint8_t> mend(ByteSpan file, bool tables, std::optional<std::uint8_t> transform) {
  std::vector<std::uint8_t> mended;
  mended.reserve(file.size() + 512);
  mended.insert(mended.end(), {0xFF, SOI});
  if (tables) append_usual_tables(mended);
  if (transform)
    mended.insert(mended.end(), {0xFF, APP14, 0, 14, 'A', 'd', 'o', 'b', 'e', 0, 100, 0, 0, 0, 0, *transform});
  for_each_segment(file, [&](unsigned marker, ByteSpan whole, ByteSpan, std::size_t) {
    const bool note = marker == COM || (marker > APP0 && marker <= APP15 && (marker != APP14 || transform));
    if (!note) mended.insert(mended.end(), whole.begin(), whole.end());
  });
  mended.insert(mended.end(), {0xFF, EOI});
  return mended;
}

}  // namespace

ImageHeader read_jpeg_header(ByteSpan file) {
  ImageHeader header;
  Frame frame(file);
  constexpr std::uint8_t kCmyk = 0, kYcck = 2;
  bool seen_exif = false;
  std::optional<std::uint8_t> transform;  // of Adobe's mark
  const bool stray = for_each_segment(file, [&](unsigned marker, ByteSpan, ByteSpan segment, std::size_t coded) {
    if (marker == DHT) {
      check_huffman_tables(segment, frame);
    } else if (marker >= SOF0 && marker <= SOF15 && marker != JPG && marker != DAC) {
      frame.read(marker, segment);
    } else if (marker == APP1 && !seen_exif && has_text(segment, 0, std::string_view("Exif\0\0", 6))) {
      header.orientation = exif_orientation(segment.subspan(6));
      seen_exif = true;
    } else if (marker == APP14 && segment.size() >= 12 && has_text(segment, 0, "Adobe")) {
      transform = segment[11];
    } else if (marker == DQT) {
      frame.add_quantisation_tables(segment);
    } else if (marker == SOS) {
      frame.add_scan(segment, coded);
    }
  });
  if (!frame.scans()) fail("the JPEG has no image data");
  header.width = frame.width();
  header.height = frame.height();
  check_density(header.width, header.height, frame.coded());
  header.coded = frame.coded();
  header.largest = frame.largest();
  header.memory = frame.memory();
  // Of four channels libjpeg takes all but one transform for YCCK.
  std::optional<std::uint8_t> mark;
  if (frame.is_cmyk()) mark = transform.value_or(kCmyk) == kCmyk ? kCmyk : kYcck;
  if (stray || mark || frame.lacks_tables()) header.mended = mend(file, frame.lacks_tables(), mark);
  return header;
}

}  // namespace bitmar
