// Of the C library what nlohmann's parser and libc++ call and JavaScript or less of it can do as well: the linker puts
// these in the place of musl's (--wrap, see CMakeLists.txt).
#include <emscripten/em_js.h>

#include <algorithm>
#include <charconv>
#include <cstdarg>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string>

// clang-format off
EM_JS(double, bitmar_number, (const char* text), { return Number(UTF8ToString(text)); });
// clang-format on

// musl's computes in long double: 7 KB of download (gzip). The parser has made sure that all of the text is one number,
// as JSON writes them.
extern "C" double __wrap_strtod(const char* text, char** end) {
  if (end) *end = const_cast<char*>(text) + std::strlen(text);
  return bitmar_number(text);
}

// musl's also prints floats, texts and widths: 4 KB. Two callers are left, each with one integer: "<U+%.4X>" of the
// parser's errors and "Unknown error %d" of libc++'s.
extern "C" int __wrap_snprintf(char* text, std::size_t room, const char* format, ...) {
  constexpr int kHexDigits = 4;
  std::va_list arguments;
  va_start(arguments, format);
  const int value = va_arg(arguments, int);
  va_end(arguments);
  const char* const percent = std::strchr(format, '%');
  const char* const kind = percent + std::strcspn(percent, "dX");
  char number[16];
  if (*kind == 'X') {
    for (int i = 0; i < kHexDigits; ++i) number[i] = "0123456789ABCDEF"[value >> 4 * (kHexDigits - 1 - i) & 15];
    number[kHexDigits] = '\0';
  } else {
    *std::to_chars(number, std::end(number) - 1, value).ptr = '\0';
  }
  const std::string whole = std::string(format, percent) + number + (kind + 1);
  if (room > 0) {
    const std::size_t kept = std::min(whole.size(), room - 1);
    std::memcpy(text, whole.data(), kept);
    text[kept] = '\0';
  }
  return static_cast<int>(whole.size());
}

// The texts of all errors of a system that is not there: 2 KB.
extern "C" int __wrap_strerror_r(int, char* text, std::size_t room) {
  if (room > 0) *text = '\0';
  return 0;
}

// What the C++ runtime says before it ends the program, on a stream that nobody reads.
extern "C" [[noreturn]] void __wrap_abort_message(const char*, ...) { std::abort(); }
