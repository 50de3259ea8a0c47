// The one exception type that leaves the library. Codes have the same names in C++, JavaScript and TypeScript.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace bitmar {

enum class ErrorCode {
  invalid_image,
  image_too_large,
  unsupported_image,
  invalid_model,
  invalid_config,
  missing_file,
  unsupported_tensor_type,
  invalid_text,
  text_too_long,
  unsupported,  // this model cannot do it
  invalid_argument,
  out_of_memory,
  invalid_state,      // a saved memory that is damaged, or of another model
  unsupported_state,  // a saved memory of a newer version
  aborted,
};

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

struct Error : std::runtime_error {
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace bitmar
