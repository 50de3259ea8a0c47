// Values and errors between the engine and JavaScript.
#pragma once

#include <emscripten/bind.h>
#include <emscripten/val.h>

#include <cmath>
#include <cstdint>
#include <new>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "io/error.h"

namespace bitmar {

using emscripten::val;

[[noreturn]] inline void throw_to_js(const std::string& code, const std::string& message) {
  val error = val::global("Error").new_(message);
  error.set("code", code);
  error.throw_();
  __builtin_unreachable();
}

// Runs f; an Error becomes a JavaScript Error with the same `code`. Thrown after the catch, which is C++'s own affair.
template <typename F>
auto guarded(F&& f) {
  std::string code, message;
  try {
    return f();
  } catch (const Error& error) {
    code = to_string(error.code());
    message = error.what();
  } catch (const std::bad_alloc&) {
    code = "out_of_memory";
    message = "there is not enough memory";
  }
  throw_to_js(code, message);
}

// A number as JavaScript has it, as a whole one. Embind would cast it: 1.5 to 1, and 2^32 + 64 to 64.
template <typename T>
T whole(double v, const char* name) {
  constexpr double kLeast = std::is_signed_v<T> ? -0x1p31 : 0, kMost = std::is_signed_v<T> ? 0x1p31 - 1 : 0x1p53 - 1;
  if (!(v >= kLeast && v <= kMost && v == std::floor(v))) {
    throw Error(ErrorCode::invalid_argument, std::string(name) + " must be a whole number in its range");
  }
  return static_cast<T>(v);
}

inline std::vector<std::uint8_t> bytes_of(const val& array) {
  return emscripten::convertJSArrayToNumberVector<std::uint8_t>(array);
}

// A JavaScript array of its own.
inline val copy_of(std::span<const float> v) {
  return val::global("Float32Array").new_(val(emscripten::typed_memory_view(v.size(), v.data())));
}

inline val copy_of(std::span<const std::uint8_t> v) {
  return val::global("Uint8Array").new_(val(emscripten::typed_memory_view(v.size(), v.data())));
}

}  // namespace bitmar
