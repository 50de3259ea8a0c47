// What the library throws. Codes have the same names in C++, JavaScript and TypeScript.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace bitmar {

enum class ErrorCode {
  invalid_image,            // not an image, damaged, cut off, or without pixels
  image_too_large,          // more pixels than image.h allows, or out of proportion to the file
  unsupported_image,        // a format other than PNG and JPEG, or a kind of these that is not decoded
  invalid_model,            // weights or tokenizer are damaged or contradict config.json
  invalid_config,           // config.json or preprocessor_config.json; the message names the field
  missing_file,             // the message names the path
  unsupported_tensor_type,  // a type of number in the weights that this version does not read
  invalid_text,             // not UTF-8
  text_too_long,            // a prompt, question, query or label above its limit
  unsupported,              // this model cannot do it
  invalid_argument,         // an option or argument outside its range
  out_of_memory,            // for the model, its memory or an image
  invalid_state,            // a saved memory that is damaged, or of another model
  unsupported_state,        // a saved memory of a newer version
  aborted,                  // never thrown in C++, where a TokenCallback stops a caption: JavaScript has it
};

// The name of a code: "invalid_image" and so on.
constexpr std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_image:
      return "invalid_image";
    case ErrorCode::image_too_large:
      return "image_too_large";
    case ErrorCode::unsupported_image:
      return "unsupported_image";
    case ErrorCode::invalid_model:
      return "invalid_model";
    case ErrorCode::invalid_config:
      return "invalid_config";
    case ErrorCode::missing_file:
      return "missing_file";
    case ErrorCode::unsupported_tensor_type:
      return "unsupported_tensor_type";
    case ErrorCode::invalid_text:
      return "invalid_text";
    case ErrorCode::text_too_long:
      return "text_too_long";
    case ErrorCode::unsupported:
      return "unsupported";
    case ErrorCode::invalid_argument:
      return "invalid_argument";
    case ErrorCode::out_of_memory:
      return "out_of_memory";
    case ErrorCode::invalid_state:
      return "invalid_state";
    case ErrorCode::unsupported_state:
      return "unsupported_state";
    case ErrorCode::aborted:
      return "aborted";
  }
  return "unknown";
}

// The one exception type of this library. What the system throws comes through beside it: std::bad_alloc where a call
// has no memory for its result. After an exception an object is as usable as before the call.
struct Error : std::runtime_error {
  // Messages quote files, which may be anybody's: what is longer is cut.
  static constexpr std::size_t kMostBytes = 1000;

  Error(ErrorCode code, const std::string& message) : std::runtime_error(shortened(message)), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  static std::string shortened(const std::string& message) {
    if (message.size() <= kMostBytes) return message;
    std::size_t end = kMostBytes - 3;
    while (end > 0 && (static_cast<unsigned char>(message[end]) & 0xC0) == 0x80) --end;  // within a character
    return message.substr(0, end) + "...";
  }

  ErrorCode code_;
};

}  // namespace bitmar
