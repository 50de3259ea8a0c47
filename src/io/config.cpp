#include "io/config.h"

#include <cmath>
#include <initializer_list>
#include <string>
#include <utility>

#include "io/error.h"
#include "io/json.h"

namespace bitmar {

namespace {

using nlohmann::json;

// Far above any model for a web page, far below what makes products of two of them overflow an int.
constexpr int kMaxWidth = 4096;
constexpr int kMaxLayers = 64;
constexpr int kMaxVocabulary = 1 << 18;
constexpr int kMaxImageSize = 1024;
constexpr int kMaxGridSize = 64;
constexpr int kMaxKernel = StemLayerConfig::kMaxKernel;
constexpr int kMaxStemLayers = 64;
constexpr int kMaxTokens = 4096;
constexpr int kMaxWindow = 1 << 14;
constexpr int kMaxSlots = 1 << 16;
constexpr std::size_t kMaxFile = 1 << 20;  // bytes; ours has three thousand

// Of a number; `text` says it in messages, for printing floats takes code that would be downloaded for this alone.
struct Range {
  double low, high;
  const char* text;
};
constexpr Range kEpsilon = {1e-12, 1, "1e-12 to 1"};
constexpr Range kTheta = {1, 1e9, "1 to 1e9"};
constexpr Range kTemperature = {1e-3, 1e3, "0.001 to 1000"};
constexpr Range kFraction = {0, 1, "0 to 1"};
constexpr Range kCosine = {-1, 1, "-1 to 1"};
constexpr Range kGuidance = {0, 1e3, "0 to 1000"};
constexpr Range kLogit = {-1e3, 1e3, "-1000 to 1000"};
constexpr Range kPenalty = {-10, 10, "-10 to 10"};

// Bytes of what no tensor of the file vouches for: maps of the stem, activations, memory slots, key-value caches.
// Together, since a few megabytes of weights could else ask for gigabytes of these.
constexpr double kMaxMemory = 192.0 * (1 << 20);

// Multiply-adds, which no tensor vouches for either: a kernel of a few bytes visits every pixel of a map. Of all that a
// picture and its prompt take before the first word, about 60 times what ours do, and as many as a ViT-L has; and of a
// word, about 80 times ours. A processor's core does 10 to 80 billion a second.
constexpr double kMaxPictureWork = 64e9, kMaxTokenWork = 512e6;
constexpr int kFewestColumns = 32;  // a product of fewer takes as long

[[noreturn]] void fail(const std::string& field, const std::string& problem) {
  throw Error(ErrorCode::invalid_config, "config.json: " + field + " " + problem);
}

// Before it is parsed: a hundred megabytes of JSON take gigabytes as values.
JsonDocument parse_document(std::string_view text, const std::string& file) {
  if (text.size() > kMaxFile) {
    throw Error(ErrorCode::invalid_config, file + " has more than " + std::to_string(kMaxFile) + " bytes");
  }
  return parse_json(text, ErrorCode::invalid_config, file);
}

class Budget {
 public:
  // `field` is the one to blame if this is too much.
  void take(double floats, const std::string& field) {
    left_ -= floats * sizeof(float);
    if (left_ < 0) fail(field, "takes too much memory");
  }
  // Multiply-adds of a picture with its prompt, and of each token after it.
  void work_on_picture(double work, const std::string& field) {
    picture_work_ -= work;
    if (picture_work_ < 0) fail(field, "takes too much computing for each picture");
  }
  void work_on_token(double work, const std::string& field) {
    token_work_ -= work;
    if (token_work_ < 0) fail(field, "takes too much computing for each token");
  }

 private:
  double left_ = kMaxMemory, picture_work_ = kMaxPictureWork, token_work_ = kMaxTokenWork;
};

double product(double rows, double inner, int columns) { return rows * inner * std::max(columns, kFewestColumns); }

// Of attention: two products and, for each head, a score and its exponential, which take as long as so many
// multiply-adds (measured: heads of width 1 made a model of 200 KB take a minute for a picture).
double attention_work(double rows, double keys, int width, int heads) {
  constexpr double kScoreWork = 400;
  return rows * keys * (2.0 * width + kScoreWork * heads);
}

// Multiply-adds of transformer layers over `rows` tokens, each of which sees `keys`.
double layers_work(int layers, double rows, double keys, int width, int heads, int intermediate) {
  return layers * (4 * product(rows, width, width) + 2 * product(rows, width, intermediate) +
                   attention_work(rows, keys, width, heads));
}

// About the floats of a transformer over `rows` tokens: its buffers, and the largest product's scratch.
double transformer(double rows, int width, int intermediate) { return rows * (8.0 * width + 3.0 * intermediate); }

// One JSON object, and where in the document it is.
class Section {
 public:
  Section(const json& value, std::string path) : value_(value), path_(std::move(path)) {
    if (!value.is_object()) fail(path_.empty() ? "the document" : path_, "must be an object");
  }

  std::string name(const char* key) const { return path_.empty() ? key : path_ + "." + key; }

  const json& at(const char* key) const {
    const auto found = value_.find(key);
    if (found == value_.end()) fail(name(key), "is missing");
    return *found;
  }
  Section section(const char* key) const { return {at(key), name(key)}; }
  bool has(const char* key) const { return value_.contains(key); }

  int integer(const char* key, int low, int high) const {
    const json& v = at(key);
    // Unsigned or not is how nlohmann stores it; a number beyond 64 bits is a float and fails.
    const bool fits = v.is_number_unsigned() ? v.get<std::uint64_t>() <= static_cast<std::uint64_t>(high)
                                             : v.is_number_integer() && v.get<std::int64_t>() <= high;
    if (!fits || v.get<std::int64_t>() < low) {
      fail(name(key), "must be an integer from " + std::to_string(low) + " to " + std::to_string(high));
    }
    return v.get<int>();
  }
  double number(const char* key, const Range& range) const {
    const json& v = at(key);
    if (!v.is_number() || !(v.get<double>() >= range.low && v.get<double>() <= range.high)) {
      fail(name(key), std::string("must be a number from ") + range.text);
    }
    return v.get<double>();
  }
  // The position of the value among `choices`.
  int choice(const char* key, std::initializer_list<const char*> choices) const {
    const json& v = at(key);
    std::string listed;
    int i = 0;
    for (const char* candidate : choices) {
      if (v.is_string() && v.get_ref<const std::string&>() == candidate) return i;
      listed += (i++ ? "\" or \"" : "\"") + std::string(candidate);
    }
    fail(name(key), "must be " + listed + "\"");
  }
  float real(const char* key, const Range& range) const { return static_cast<float>(number(key, range)); }
  float real_or(const char* key, float otherwise, const Range& range) const {
    return value_.contains(key) ? real(key, range) : otherwise;
  }
  int heads(int width, bool rotary) const {
    const int n = integer("num_heads", 1, width);
    if (width % n != 0) fail(name("num_heads"), "must divide the width, " + std::to_string(width));
    if (rotary && width / n % 2 != 0) fail(name("num_heads"), "must leave each head an even width");
    return n;
  }
  // Of matrices packed four rows to a byte.
  int packed_width(const char* key) const {
    const int n = integer(key, 4, kMaxWidth);
    if (n % 4 != 0) fail(name(key), "must be a multiple of 4");
    return n;
  }

 private:
  const json& value_;
  std::string path_;
};

StemLayerConfig parse_stem_layer(const Section& s, bool first) {
  StemLayerConfig layer;
  layer.type = static_cast<StemLayerConfig::Type>(s.choice("type", {"conv", "max_pool", "residual"}));
  layer.kernel_size = s.integer("kernel_size", 1, kMaxKernel);
  // With padding kernel_size / 2 an even kernel would grow the map.
  if (layer.kernel_size % 2 == 0) fail(s.name("kernel_size"), "must be odd");
  if (first && layer.type != StemLayerConfig::Type::conv) fail(s.name("type"), "must be \"conv\" in the first layer");
  if (layer.type == StemLayerConfig::Type::residual) return layer;
  layer.stride = s.integer("stride", 1, kMaxKernel);
  if (layer.type == StemLayerConfig::Type::max_pool) return layer;
  layer.weights = static_cast<StemLayerConfig::Weights>(s.choice("weights", {"int8", "ternary"}));
  if (first != (layer.weights == StemLayerConfig::Weights::int8)) {
    fail(s.name("weights"), "must be \"int8\" in the first layer and \"ternary\" in the others");
  }
  layer.out_channels = s.packed_width("out_channels");
  layer.relu = s.choice("activation", {"none", "relu"}) == 1;
  return layer;
}

void parse_stem(const Section& s, VisionConfig& vision, Budget& budget) {
  const json& stem = s.at("stem");
  if (!stem.is_array() || stem.empty() || stem.size() > kMaxStemLayers) {
    fail(s.name("stem"), "must be a list of 1 to " + std::to_string(kMaxStemLayers) + " layers");
  }
  int size = vision.image_size, channels = 3;
  double largest = 0;
  for (std::size_t i = 0; i < stem.size(); ++i) {
    const Section entry(stem[i], s.name("stem") + "[" + std::to_string(i) + "]");
    const StemLayerConfig layer = parse_stem_layer(entry, i == 0);
    const int in_channels = channels;
    size = layer.output_size(size);
    if (layer.type == StemLayerConfig::Type::conv) channels = layer.out_channels;
    // Pooling is no product, but visits as much of the map.
    const bool pools = layer.type == StemLayerConfig::Type::max_pool;
    const double windows = 1.0 * size * size * layer.kernel_size * layer.kernel_size;
    budget.work_on_picture(
        pools ? product(windows, channels, 1)
              : product(windows * (layer.type == StemLayerConfig::Type::residual ? 2 : 1), in_channels, channels),
        entry.name("kernel_size"));
    // Three maps are held at a time, the third inside a residual, one as int8, and what Winograd's products read of it.
    constexpr int border = kMaxKernel / 2;
    const double padded = size + 2 * border, map = padded * padded * channels;
    if (map > largest) {
      budget.take(3.75 * (map - largest), entry.name("out_channels"));
      largest = map;
    }
    vision.stem.push_back(layer);
  }
  if (size != vision.grid_size) {
    fail(s.name("grid_size"),
         "is " + std::to_string(vision.grid_size) + ", but the stem ends in a grid of " + std::to_string(size));
  }
  if (channels != vision.hidden_size) {
    fail(s.name("hidden_size"), "is " + std::to_string(vision.hidden_size) + ", but the stem ends in " +
                                    std::to_string(channels) + " channels");
  }
}

VisionConfig parse_vision(const Section& s, Budget& budget) {
  VisionConfig vision;
  vision.input = static_cast<VisionConfig::Input>(s.choice("input", {"pixels", "features"}));
  vision.grid_size = s.integer("grid_size", 1, kMaxGridSize);
  vision.feature_size = s.packed_width("feature_size");
  const double patches = 1.0 * vision.grid_size * vision.grid_size;
  budget.take(2 * patches * vision.feature_size, s.name("feature_size"));
  if (!vision.takes_pixels()) return vision;
  vision.image_size = s.integer("image_size", 1, kMaxImageSize);
  vision.hidden_size = s.packed_width("hidden_size");
  vision.num_layers = s.integer("num_layers", 0, kMaxLayers);
  vision.num_heads = s.heads(vision.hidden_size, false);
  vision.intermediate_size = s.packed_width("intermediate_size");
  budget.take(transformer(patches, vision.hidden_size, vision.intermediate_size), s.name("intermediate_size"));
  budget.work_on_picture(
      layers_work(vision.num_layers, patches, patches, vision.hidden_size, vision.num_heads, vision.intermediate_size) +
          product(patches, vision.hidden_size, vision.feature_size),
      s.name("num_layers"));
  parse_stem(s, vision, budget);
  return vision;
}

TextEncoderConfig parse_text_encoder(const Section& s, int width, Budget& budget) {
  const TextEncoderConfig encoder = {.num_layers = s.integer("num_layers", 0, kMaxLayers),
                                     .num_heads = s.heads(width, true),
                                     .intermediate_size = s.packed_width("intermediate_size"),
                                     .rope_theta = s.number("rope_theta", kTheta),
                                     .max_tokens = s.integer("max_tokens", 1, kMaxTokens)};
  budget.take(transformer(encoder.max_tokens, width, encoder.intermediate_size), s.name("max_tokens"));
  const double tokens = encoder.max_tokens;
  budget.work_on_picture(
      layers_work(encoder.num_layers, tokens, tokens, width, encoder.num_heads, encoder.intermediate_size),
      s.name("max_tokens"));
  return encoder;
}

MemoryConfig parse_memory(const Section& s, Budget& budget) {
  MemoryConfig memory = {.num_slots = s.integer("num_slots", 1, kMaxSlots),
                         .width = s.packed_width("width"),
                         .temperature = s.real("temperature", kTemperature),
                         .alpha = s.real("alpha", kFraction),
                         .novelty_threshold = s.real("novelty_threshold", kCosine)};
  memory.read_threshold = s.real_or("read_threshold", memory.read_threshold, kCosine);
  memory.recall_threshold = s.real_or("recall_threshold", memory.recall_threshold, kCosine);
  // Key, value and the key's int8 copy, and about as much again as a label.
  budget.take(memory.num_slots * (2.25 * memory.width + 40), s.name("num_slots"));
  return memory;
}

DecoderConfig parse_decoder(const Section& s, int width, Budget& budget) {
  const DecoderConfig decoder = {.num_layers = s.integer("num_layers", 1, kMaxLayers),
                                 .num_heads = s.heads(width, true),
                                 .intermediate_size = s.packed_width("intermediate_size"),
                                 .rope_theta = s.number("rope_theta", kTheta),
                                 .num_sinks = s.integer("num_sinks", 0, kMaxWindow),
                                 .window_size = s.integer("window_size", 1, kMaxWindow)};
  const double rows = decoder.num_sinks + decoder.window_size;
  budget.take(2.0 * decoder.num_layers * rows * width, s.name("window_size"));
  return decoder;
}

}  // namespace

Config parse_config(std::string_view text) {
  const JsonDocument parsed = parse_document(text, "config.json");
  const json& document = *parsed;
  const Section s(document, "");
  s.choice("model_type", {"bitmar"});
  s.integer("format_version", 1, 1);
  Config c;
  c.hidden_size = s.packed_width("hidden_size");
  c.rms_norm_eps = s.real("rms_norm_eps", kEpsilon);
  c.vocab_size = s.integer("vocab_size", 4, kMaxVocabulary);
  c.pad_token_id = s.integer("pad_token_id", 0, c.vocab_size - 1);
  c.bos_token_id = s.integer("bos_token_id", 0, c.vocab_size - 1);
  c.eos_token_id = s.integer("eos_token_id", 0, c.vocab_size - 1);
  if (c.bos_token_id == c.eos_token_id) fail("eos_token_id", "must differ from bos_token_id");
  Budget budget;
  c.vision = parse_vision(s.section("vision"), budget);

  const Section compressor = s.section("compressor");
  c.compressor = {.pool_size = compressor.integer("pool_size", 1, c.vision.grid_size),
                  .hidden_size = compressor.packed_width("hidden_size")};
  if (c.vision.grid_size % c.compressor.pool_size != 0) fail("compressor.pool_size", "must divide vision.grid_size");
  c.text_encoder = parse_text_encoder(s.section("text_encoder"), c.hidden_size, budget);
  const Section fusion = s.section("fusion");
  c.fusion = {.num_layers = fusion.integer("num_layers", 0, kMaxLayers),
              .num_heads = fusion.heads(c.hidden_size, false)};
  c.memory = parse_memory(s.section("memory"), budget);
  c.decoder = parse_decoder(s.section("decoder"), c.hidden_size, budget);

  // Earlier models have other names for the head, its rerank weight and its share in the confidence.
  const bool earlier = !s.has("bag_of_words");
  if (!earlier || s.has("words")) {
    const Section head = s.section(earlier ? "words" : "bag_of_words");
    c.bag_of_words = BagOfWordsConfig{.guidance = head.number("guidance", kGuidance),
                                      .rerank_weight = head.number(earlier ? "choice" : "rerank_weight", kGuidance),
                                      .length_penalty = head.number("length_penalty", kPenalty)};
  }
  if (s.has("confidence")) {
    const Section confidence = s.section("confidence");
    c.confidence = ConfidenceConfig{.slope = confidence.number("slope", kLogit),
                                    .similarity = confidence.number("similarity", kLogit),
                                    .offset = confidence.number("offset", kLogit)};
    for (const char* name : {"words", "agreement"}) {
      if (confidence.has(name)) c.confidence->agreement = confidence.number(name, kLogit);
    }
  }

  if (s.has("ask")) {
    const Section ask = s.section("ask");
    c.ask = AskConfig{.token_id = ask.integer("token_id", 0, c.vocab_size - 1),
                      .max_tokens = ask.integer("max_tokens", 1, c.decoder.num_sinks + c.decoder.window_size)};
    for (const int other : {c.pad_token_id, c.bos_token_id, c.eos_token_id}) {
      if (c.ask->token_id == other)
        fail("ask.token_id", "must differ from pad_token_id, bos_token_id and eos_token_id");
    }
  }

  const int side = c.vision.grid_size / c.compressor.pool_size;
  const double texts = c.text_encoder.max_tokens, visions = side * side, conditioning = 1.0 + texts + visions;
  budget.take(2.0 * c.decoder.num_layers * conditioning * c.hidden_size, "decoder.num_layers");
  budget.work_on_picture(product(visions, c.vision.feature_size, c.compressor.hidden_size) +
                             product(visions, c.compressor.hidden_size, c.hidden_size),
                         "compressor.hidden_size");
  budget.work_on_picture(c.fusion.num_layers * (2 * product(texts + visions, c.hidden_size, c.hidden_size) +
                                                attention_work(texts, visions, c.hidden_size, c.fusion.num_heads)),
                         "fusion.num_layers");
  budget.work_on_picture(c.decoder.num_layers * 2 * product(conditioning, c.hidden_size, c.hidden_size),
                         "decoder.num_layers");
  const double rows = conditioning + c.decoder.num_sinks + c.decoder.window_size;
  budget.work_on_token(
      layers_work(c.decoder.num_layers, 1, rows, c.hidden_size, c.decoder.num_heads, c.decoder.intermediate_size),
      "decoder.num_layers");
  budget.work_on_token(product(1, c.hidden_size, c.vocab_size), "vocab_size");
  return c;
}

void check_preprocessor(std::string_view text, const Config& config) {
  if (!config.vision.takes_pixels()) return;
  const std::string file = "preprocessor_config.json";
  const JsonDocument parsed = parse_document(text, file);
  const json& document = *parsed;
  const std::string side = std::to_string(config.vision.image_size);
  const std::pair<const char*, std::string> wanted[] = {
      {"do_resize", "true"},    {"size", R"({"height":)" + side + R"(,"width":)" + side + "}"},
      {"resample", "2"},        {"do_center_crop", "false"},
      {"do_rescale", "false"},  {"do_normalize", "false"},
      {"pixel_offset", "-128"}, {"do_convert_rgb", "true"},
  };
  for (const auto& [key, value] : wanted) {
    if (!document.is_object() || !document.contains(key) ||
        document[key] != *parse_json(value, ErrorCode::invalid_config, key)) {
      throw Error(ErrorCode::invalid_config, file + ": " + key + " must be " + value);
    }
  }
}

}  // namespace bitmar
