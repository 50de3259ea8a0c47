// nlohmann's parser reads numbers with strtod. JavaScript has the same function built in, and musl's, which computes in
// long double, is 7 KB of download (gzip): the linker puts this in its place (--wrap, see CMakeLists.txt).
#include <emscripten/em_js.h>

#include <cstring>

// clang-format off
EM_JS(double, bitmar_number, (const char* text), { return Number(UTF8ToString(text)); });
// clang-format on

// The parser has made sure that all of the text is one number, as JSON writes them.
extern "C" double __wrap_strtod(const char* text, char** end) {
  if (end) *end = const_cast<char*>(text) + std::strlen(text);
  return bitmar_number(text);
}
