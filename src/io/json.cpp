#include "io/json.h"

#include <set>
#include <vector>

namespace bitmar {

namespace {

// Our deepest document has five levels. Deep nesting costs little to write and much to hold.
constexpr int kMaxDepth = 16;

}  // namespace

nlohmann::json parse_json(std::string_view text, ErrorCode code, const std::string& what) {
  using nlohmann::json;
  std::vector<std::set<std::string>> keys;  // of every object that is open
  const auto watch = [&](int depth, json::parse_event_t event, json& value) {
    // `depth` counts what encloses the value; the callback may throw, and the parser lets it pass.
    if (depth > kMaxDepth) throw Error(code, what + " is nested too deeply");
    if (event == json::parse_event_t::object_start) {
      keys.emplace_back();
    } else if (event == json::parse_event_t::object_end) {
      keys.pop_back();
    } else if (event == json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second) {
      throw Error(code, what + " has the key \"" + value.get<std::string>() + "\" twice");
    }
    return true;
  };
  try {
    return json::parse(text.begin(), text.end(), watch);
  } catch (const json::exception& error) {
    throw Error(code, what + " is not JSON: " + error.what());
  }
}

}  // namespace bitmar
