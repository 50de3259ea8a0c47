// UTF-8, and the small part of Unicode that tokenizing needs.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace bitmar {

// One character at the begin of `text`, which is not empty.
struct Utf8 {
  enum class State {
    whole,      // `size` bytes are `code`
    cut_off,    // `size` bytes could begin a character, and the text ends there
    malformed,  // `size` bytes are none and begin none: what a decoder replaces by one U+FFFD
  };
  State state;
  char32_t code;
  std::size_t size;
};
Utf8 read_utf8(std::string_view text);
void append_utf8(std::string& text, char32_t code);

enum class CharClass { letter, number, space, other };
CharClass char_class(char32_t c);

// Character by character, as Hugging Face's Lowercase: a final capital sigma becomes the middle one.
// Throws invalid_text if `text` is not UTF-8.
std::string lower_case(std::string_view text);

// One space for every run of them, none at either end. Throws invalid_text if `text` is not UTF-8.
std::string single_spaces(std::string_view text);

// Throws invalid_text if `text` is not UTF-8.
void check_utf8(std::string_view text);

}  // namespace bitmar
