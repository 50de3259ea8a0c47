#include "compat/config.h"

#include <string>

#include "io/error.h"
#include "io/json.h"

namespace bitmar::compat {

namespace {

using nlohmann::json;

constexpr const char* kModelType = "bitmar-compat";
constexpr int kVersion = 1;
// Far above the published sizes, far below what makes products of two of them overflow an int.
constexpr int kMaxWidth = 4096, kMaxLayers = 64, kMaxVocabulary = 1 << 18, kMaxPositions = 4096, kMaxSlots = 1 << 16;
constexpr std::size_t kMaxFile = 1 << 20;  // bytes; ours has five hundred

[[noreturn]] void fail(const std::string& field, const std::string& problem) {
  throw Error(ErrorCode::invalid_config, "config.json: " + field + " " + problem);
}

const json& field_of(const json& object, const std::string& name, const std::string& path) {
  if (!object.is_object() || !object.contains(name)) fail(path, "is missing");
  return object[name];
}

int number(const json& object, const std::string& name, int low, int high, const std::string& within = "") {
  const std::string path = within.empty() ? name : within + "." + name;
  const json& value = field_of(object, name, path);
  if (!value.is_number_integer() || value < low || value > high)
    fail(path, "must be a whole number from " + std::to_string(low) + " to " + std::to_string(high));
  return value.get<int>();
}

std::string string(const json& object, const std::string& name) {
  const json& value = field_of(object, name, name);
  if (!value.is_string()) fail(name, "must be a string");
  return value.get<std::string>();
}

}  // namespace

bool is_compat(std::string_view text) {
  if (text.size() > kMaxFile) return false;
  try {
    const JsonDocument document = parse_json(text, ErrorCode::invalid_config, "config.json");
    const json& config = *document;
    return config.is_object() && config.contains("model_type") && config["model_type"] == kModelType;
  } catch (const Error&) {
    return false;  // whoever reads it as a model's config says what is wrong
  }
}

Config parse_config(std::string_view text) {
  if (text.size() > kMaxFile) fail("the file", "has more than " + std::to_string(kMaxFile) + " bytes");
  const JsonDocument document = parse_json(text, ErrorCode::invalid_config, "config.json");
  const json& j = *document;
  if (!j.is_object()) fail("the document", "must be an object");
  if (string(j, "model_type") != kModelType) fail("model_type", std::string("must be ") + kModelType);
  number(j, "format_version", kVersion, kVersion);
  const auto within = [&](const char* object, const char* name, int high) {
    return number(field_of(j, object, object), name, 1, high, object);
  };
  Config c;
  c.vocab_size = number(j, "vocab_size", 1, kMaxVocabulary);
  c.hidden_size = number(j, "hidden_size", 1, kMaxWidth);
  c.intermediate_size = number(j, "intermediate_size", 1, kMaxWidth);
  c.num_heads = number(j, "num_heads", 1, c.hidden_size);
  if (c.hidden_size % c.num_heads != 0) fail("num_heads", "must divide hidden_size");
  c.max_positions = number(j, "max_positions", 1, kMaxPositions);
  c.end_token_id = number(j, "end_token_id", 0, c.vocab_size - 1);
  c.text_layers = within("text_encoder", "num_layers", kMaxLayers);
  c.decoder_layers = within("decoder", "num_layers", kMaxLayers);
  c.fusion_layers = within("fusion", "num_layers", kMaxLayers);
  c.vision_features = within("vision", "feature_size", kMaxWidth);
  c.vision_hidden = within("vision", "hidden_size", kMaxWidth);
  c.num_slots = within("memory", "num_slots", kMaxSlots);
  const std::string rule = string(j, "episode_without_vision");
  if (rule != "bias" && rule != "dropped") fail("episode_without_vision", "must be bias or dropped");
  c.keep_vision_bias = rule == "bias";
  return c;
}

}  // namespace bitmar::compat
