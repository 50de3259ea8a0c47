// config.json: every dimension and choice of a model.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

namespace bitmar {

struct StemLayerConfig {
  enum class Type { conv, max_pool, residual };  // residual: x + conv(norm(relu(conv(norm(x))))), as many channels
  enum class Weights { int8, ternary };
  Type type = Type::conv;
  static constexpr int kMaxKernel = 15;
  int kernel_size = 0, stride = 1;  // of a residual the stride is 1
  // Of convolutions alone:
  int out_channels = 0;
  Weights weights = Weights::ternary;  // int8 is for the first one, whose input has no scale of its own
  bool relu = false;

  int padding() const { return kernel_size / 2; }
  int output_size(int size) const { return (size + 2 * padding() - kernel_size) / stride + 1; }
};

struct VisionConfig {
  enum class Input { pixels, features };
  Input input = Input::pixels;
  int grid_size = 0;     // features come as grid_size x grid_size
  int feature_size = 0;  // numbers of each
  // Of models that take pixels; unset otherwise:
  int image_size = 0;
  std::vector<StemLayerConfig> stem;
  int hidden_size = 0, num_layers = 0, num_heads = 0, intermediate_size = 0;

  bool takes_pixels() const { return input == Input::pixels; }
};

struct CompressorConfig {
  int pool_size = 0, hidden_size = 0;
};

struct TextEncoderConfig {
  int num_layers = 0, num_heads = 0, intermediate_size = 0;
  double rope_theta = 0;
  int max_tokens = 0;  // BOS included
};

struct FusionConfig {
  int num_layers = 0, num_heads = 0;
};

struct MemoryConfig {
  int num_slots = 0, width = 0;
  float temperature = 0, alpha = 0, novelty_threshold = 0;
  float read_threshold = -1, recall_threshold = 0.85f;  // optional in the file
};

struct DecoderConfig {
  int num_layers = 0, num_heads = 0, intermediate_size = 0;
  double rope_theta = 0;
  int num_sinks = 0, window_size = 0;
};

// How sure a caption is: 1 / (1 + exp(-(slope * mean + similarity * s + agreement * a + offset))), fitted to validation
// data (Platt 1999). mean: log-probability per token; s: cosine of picture and caption in the memory's space; a: cosine
// of the caption's words with those predicted from the picture.
struct ConfidenceConfig {
  double slope = 0, similarity = 0, offset = 0;
  double agreement = 0;  // optional in the file, where earlier models call it words
};

// Of models with a bag-of-words head: how beam search uses its prediction. `guidance` weighs the agreement beside the
// log-probability of beams that are alive, `rerank_weight` beside the score of finished ones; `length_penalty` goes
// with these two. Earlier models have them as `words`, with `choice` for the rerank weight.
struct BagOfWordsConfig {
  double guidance = 0, rerank_weight = 0, length_penalty = 1;
};

// Of models that answer questions about a picture.
struct AskConfig {
  int token_id = 0;    // begins a question, and its answer
  int max_tokens = 0;  // of an answer
};

struct Config {
  int hidden_size = 0;
  float rms_norm_eps = 0;
  int vocab_size = 0;
  int pad_token_id = 0, bos_token_id = 0, eos_token_id = 0;
  VisionConfig vision;
  CompressorConfig compressor;
  TextEncoderConfig text_encoder;
  FusionConfig fusion;
  MemoryConfig memory;
  DecoderConfig decoder;
  std::optional<BagOfWordsConfig> bag_of_words;
  std::optional<ConfidenceConfig> confidence;  // of a calibrated model
  std::optional<AskConfig> ask;
};

// Every field but `bag_of_words`, `confidence` and `ask` must be there, and each in its range: what comes out can be
// computed with, and cannot ask for more memory or more multiply-adds than a model of this kind has any use for. Throws
// invalid_config, naming the field.
Config parse_config(std::string_view json);

// preprocessor_config.json must describe what the engine does with pixels: squash them to the model's size,
// Pillow's BILINEAR, minus 128. Throws invalid_config.
void check_preprocessor(std::string_view json, const Config& config);

}  // namespace bitmar
