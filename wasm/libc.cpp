// Of the C library what nlohmann's parser and libc++ call and JavaScript or less of it can do as well: the linker puts
// these in the place of musl's (--wrap, see CMakeLists.txt).
#include <emscripten/em_js.h>

#include <algorithm>
#include <cstdarg>
#include <cstddef>
#include <cstring>

// clang-format off
EM_JS(double, bitmar_number, (const char* text), { return Number(UTF8ToString(text)); });
// clang-format on

// musl's computes in long double: 7 KB of download (gzip). The parser has made sure that all of the text is one number,
// as JSON writes them.
extern "C" double __wrap_strtod(const char* text, char** end) {
  if (end) *end = const_cast<char*>(text) + std::strlen(text);
  return bitmar_number(text);
}

extern "C" int vsiprintf(char* text, const char* format, std::va_list arguments);  // emscripten's, of integers alone

// musl's also prints floats: 2 KB. Two callers are left, each with one integer: "<U+%.4X>" of the parser's errors and
// "Unknown error %d" of libc++'s.
extern "C" int __wrap_snprintf(char* text, std::size_t room, const char* format, ...) {
  char whole[64];
  std::va_list arguments;
  va_start(arguments, format);
  const int length = vsiprintf(whole, format, arguments);
  va_end(arguments);
  if (room > 0) {
    const std::size_t kept = std::min(static_cast<std::size_t>(length), room - 1);
    std::memcpy(text, whole, kept);
    text[kept] = '\0';
  }
  return length;
}
