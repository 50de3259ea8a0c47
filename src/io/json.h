// Parses untrusted JSON: hostile text ends in an Error and in nothing else.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "io/error.h"

namespace bitmar {

// Throws Error(code) if the text is no JSON, is nested deeper than anything of ours, or says a key twice:
// readers would differ in which of the two they believe. `what` names the document in messages.
nlohmann::json parse_json(std::string_view text, ErrorCode code, const std::string& what);

}  // namespace bitmar
