#include "io/json.h"

#include <utility>
#include <vector>

namespace bitmar {

namespace {

using nlohmann::json;

// Our deepest document has five levels. Deep nesting costs little to write and much to hold.
constexpr std::size_t kMaxDepth = 16;
// Of values: a vocabulary of 200,000 tokens and its merges have half as many. One takes a hundred bytes and more,
// however few it has in the file.
constexpr std::size_t kMaxValues = 1 << 20;

// Makes the document of the parser's events; nlohmann's own builder would keep the last of two equal keys.
class Builder {
 public:
  Builder(ErrorCode code, const std::string& what) : code_(code), what_(what) {}

  JsonDocument take() { return std::move(root_); }

  bool null() { return put(nullptr); }
  bool boolean(bool v) { return put(v); }
  bool number_integer(json::number_integer_t v) { return put(v); }
  bool number_unsigned(json::number_unsigned_t v) { return put(v); }
  bool number_float(json::number_float_t v, const std::string&) { return put(v); }
  bool string(std::string& v) { return put(std::move(v)); }
  bool binary(json::binary_t&) { return false; }  // not in JSON

  bool start_object(std::size_t) { return open(json::value_t::object); }
  bool start_array(std::size_t) { return open(json::value_t::array); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(std::string& name) {
    const auto [entry, added] = open_.back()->emplace(name, nullptr);
    if (!added) fail(" has the key \"" + name + "\" twice");
    next_ = &*entry;
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const json::exception& error) {
    fail(std::string(" is not JSON: ") + error.what());
  }

 private:
  [[noreturn]] void fail(const std::string& problem) const { throw Error(code_, what_ + problem); }

  // Where the value went: what encloses an open list or object does not grow meanwhile, so that it stays there.
  json& place(json value) {
    if (open_.size() > kMaxDepth) fail(" is nested too deeply");
    if (++values_ > kMaxValues) fail(" has too many values");
    if (!open_.empty() && open_.back()->is_array()) return open_.back()->emplace_back(std::move(value));
    return *next_ = std::move(value);
  }
  bool put(json value) {
    place(std::move(value));
    return true;
  }
  bool open(json::value_t type) {
    open_.push_back(&place(type));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  const ErrorCode code_;
  const std::string& what_;
  JsonDocument root_;
  json* next_ = &*root_;  // the value of the last key
  std::vector<json*> open_;
  std::size_t values_ = 0;
};

}  // namespace

void JsonDocument::empty(json& value) noexcept {
  if (!value.is_structured()) return;
  for (json& inner : value) empty(inner);
  value.clear();
}

JsonDocument parse_json(std::string_view text, ErrorCode code, const std::string& what) {
  Builder builder(code, what);
  json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

}  // namespace bitmar
