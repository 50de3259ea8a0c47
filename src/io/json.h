// Parses untrusted JSON: hostile text ends in an Error and in nothing else.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "io/error.h"

namespace bitmar {

// A document that is taken apart from within: nlohmann's own destructor takes memory to do without recursion, and ends
// the process where there is none. Ours is never deep.
class JsonDocument {
 public:
  JsonDocument() = default;
  JsonDocument(JsonDocument&& other) noexcept { value_.swap(other.value_); }
  JsonDocument& operator=(JsonDocument&&) = delete;
  ~JsonDocument() { empty(value_); }

  nlohmann::json& operator*() { return value_; }
  const nlohmann::json& operator*() const { return value_; }

 private:
  static void empty(nlohmann::json& value) noexcept;

  nlohmann::json value_;
};

// Throws Error(code) if the text is no JSON, is nested deeper than anything of ours, or says a key twice:
// readers would differ in which of the two they believe. `what` names the document in messages.
JsonDocument parse_json(std::string_view text, ErrorCode code, const std::string& what);

}  // namespace bitmar
