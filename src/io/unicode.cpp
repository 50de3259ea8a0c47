#include "io/unicode.h"

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "io/error.h"

namespace bitmar {

namespace {

struct Range {
  char32_t first, last;
};
struct Capitals {
  char32_t first, last;
  std::int32_t step, difference;
};

#include "io/unicode_tables.inc"

// The range that holds c, or nullptr.
template <typename R, std::size_t n>
const R* find(const R (&table)[n], char32_t c) {
  const R* next = std::upper_bound(std::begin(table), std::end(table), c,
                                   [](char32_t code, const R& range) { return code < range.first; });
  return next != std::begin(table) && c <= next[-1].last ? next - 1 : nullptr;
}

char32_t take_utf8(std::string_view text, std::size_t& at) {
  const Utf8 c = read_utf8(text.substr(at));
  if (c.state != Utf8::State::whole) {
    throw Error(ErrorCode::invalid_text, "the text is not UTF-8 from byte " + std::to_string(at));
  }
  at += c.size;
  return c.code;
}

}  // namespace

Utf8 read_utf8(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {Utf8::State::whole, lead, 1};
  if (lead < 0xC2 || lead > 0xF4) return {Utf8::State::malformed, 0, 1};
  const std::size_t size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  char32_t code = lead & (0x7Fu >> size);
  for (std::size_t i = 1; i < size; ++i) {
    if (i == text.size()) return {Utf8::State::cut_off, 0, i};
    // The second byte decides over forms too long, surrogates, and what is beyond U+10FFFF.
    unsigned low = 0x80, high = 0xBF;
    if (i == 1) {
      if (lead == 0xE0) low = 0xA0;
      if (lead == 0xED) high = 0x9F;
      if (lead == 0xF0) low = 0x90;
      if (lead == 0xF4) high = 0x8F;
    }
    if (byte(i) < low || byte(i) > high) return {Utf8::State::malformed, 0, i};
    code = code << 6 | (byte(i) & 0x3F);
  }
  return {Utf8::State::whole, code, size};
}

void append_utf8(std::string& text, char32_t code) {
  const auto put = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xC0 | code >> 6);
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
  }
  put(0x80 | (code & 0x3F));
}

CharClass char_class(char32_t c) {
  if (find(kLetters, c)) return CharClass::letter;
  if (find(kNumbers, c)) return CharClass::number;
  if (find(kSpaces, c)) return CharClass::space;
  return CharClass::other;
}

std::string lower_case(std::string_view text) {
  std::string lower;
  lower.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = take_utf8(text, at);
    const Capitals* capitals = find(kCapitals, c);
    if (c == 0x130) {
      lower += "i\xCC\x87";  // the one capital whose small letter is two characters
    } else if (capitals && (c - capitals->first) % static_cast<char32_t>(capitals->step) == 0) {
      append_utf8(lower, c + static_cast<char32_t>(capitals->difference));
    } else {
      append_utf8(lower, c);
    }
  }
  return lower;
}

std::string single_spaces(std::string_view text) {
  std::string spaced;
  bool space = false;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = take_utf8(text, at);
    if (char_class(c) == CharClass::space) {
      space = true;
      continue;
    }
    if (space && !spaced.empty()) spaced += ' ';
    space = false;
    append_utf8(spaced, c);
  }
  return spaced;
}

void check_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) take_utf8(text, at);
}

}  // namespace bitmar
