#include "io/safetensors.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include "io/error.h"
#include "io/heap_sort.h"
#include "io/json.h"

namespace bitmar {

namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "model files are little-endian, and are read where they lie");

constexpr std::size_t kLengthBytes = 8;
// The header of our models takes 20 KB. The cap keeps a hostile file from costing minutes of JSON.
constexpr std::size_t kMaxHeader = 1 << 20;
constexpr std::size_t kMaxDimensions = 8;

[[noreturn]] void fail(const std::string& message) {
  throw Error(ErrorCode::invalid_model, "model.safetensors: " + message);
}
[[noreturn]] void fail(const std::string& name, const std::string& message) {
  fail("tensor \"" + name + "\" " + message);
}

DType dtype_of(const std::string& name, const json& value) {
  if (!value.is_string()) fail(name, "has a dtype that is no string");
  const std::string& text = value.get_ref<const std::string&>();
  if (text == "U8") return DType::u8;
  if (text == "I8") return DType::i8;
  if (text == "I32") return DType::i32;
  if (text == "F16") return DType::f16;
  if (text == "F32") return DType::f32;
  throw Error(ErrorCode::unsupported_tensor_type,
              "model.safetensors: tensor \"" + name + "\" has the type \"" + text.substr(0, 32) + "\"");
}

std::uint64_t natural(const std::string& name, const json& value, const char* what) {
  // nlohmann keeps every integer >= 0 as unsigned; what overflows 64 bits becomes a float.
  if (!value.is_number_unsigned()) fail(name, std::string("has a ") + what + " that is no natural number");
  return value.get<std::uint64_t>();
}

struct Entry {
  std::string name;
  Tensor tensor;
  std::uint64_t begin = 0, end = 0;
};

Entry read_entry(const std::string& name, const json& value) {
  if (!value.is_object()) fail(name, "is no object");
  for (const auto& [key, unused] : value.items()) {
    if (key != "dtype" && key != "shape" && key != "data_offsets") fail(name, "has the unknown field \"" + key + "\"");
  }
  if (value.size() != 3) fail(name, "lacks one of dtype, shape and data_offsets");
  Entry entry{.name = name, .tensor = {.dtype = dtype_of(name, value["dtype"]), .shape = {}, .data = {}}};

  const json& shape = value["shape"];
  if (!shape.is_array() || shape.size() > kMaxDimensions) fail(name, "has a shape that is no short list");
  std::uint64_t bytes = size_of(entry.tensor.dtype);
  for (const json& side : shape) {
    const std::uint64_t n = natural(name, side, "dimension");
    // Also keeps each side within int64, so that no later product of two sides in one row can surprise.
    if (n > std::numeric_limits<std::int32_t>::max()) fail(name, "has a dimension beyond any model");
    if (n != 0 && bytes > std::numeric_limits<std::uint64_t>::max() / n) fail(name, "has a shape whose size overflows");
    bytes *= n;
    entry.tensor.shape.push_back(static_cast<std::int64_t>(n));
  }

  const json& offsets = value["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2) fail(name, "has data_offsets that are no pair");
  entry.begin = natural(name, offsets[0], "data offset");
  entry.end = natural(name, offsets[1], "data offset");
  if (entry.end < entry.begin) fail(name, "ends before it begins");
  if (entry.end - entry.begin != bytes) fail(name, "has not the number of bytes of its shape and type");
  return entry;
}

}  // namespace

std::size_t size_of(DType type) {
  switch (type) {
    case DType::u8:
    case DType::i8:
      return 1;
    case DType::f16:
      return 2;
    case DType::i32:
    case DType::f32:
      return 4;
  }
  return 1;
}

SafeTensors SafeTensors::parse(std::span<const std::uint8_t> file) {
  if (file.size() < kLengthBytes) fail("the file is shorter than its header");
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) length |= std::uint64_t{file[i]} << (8 * i);
  if (length > kMaxHeader) fail("the header is longer than any of a model");
  if (length > file.size() - kLengthBytes) fail("the file ends within its header");
  const auto header_size = static_cast<std::size_t>(length);
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + kLengthBytes, header_size);
  if (text.empty() || text.front() != '{') fail("the header is no JSON object");
  const JsonDocument parsed = parse_json(text, ErrorCode::invalid_model, "the header of model.safetensors");
  const json& header = *parsed;
  if (!header.is_object()) fail("the header is no JSON object");

  const std::span<const std::uint8_t> body = file.subspan(kLengthBytes + header_size);
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      if (!value.is_object()) fail("__metadata__ is no object");
    } else {
      entries.push_back(read_entry(name, value));
    }
  }
  // Side by side from the first byte to the last: nothing overlaps, nothing is hidden between or behind.
  heap_sort(entries,
            [](const Entry& a, const Entry& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  SafeTensors result;
  std::uint64_t expected = 0;
  for (Entry& e : entries) {
    if (e.begin < expected) fail(e.name, "overlaps another one");
    if (e.begin > expected) fail(e.name, "begins behind a gap");
    if (e.end > body.size()) fail(e.name, "reaches beyond the end of the file");
    e.tensor.data = body.subspan(static_cast<std::size_t>(e.begin), static_cast<std::size_t>(e.end - e.begin));
    expected = e.end;
    result.tensors_.emplace(std::move(e.name), std::move(e.tensor));
  }
  if (expected != body.size()) fail("bytes that belong to no tensor follow the last one");
  return result;
}

const Tensor* SafeTensors::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

}  // namespace bitmar
