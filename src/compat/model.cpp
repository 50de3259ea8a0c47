#include "compat/model.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "io/error.h"
#include "runtime/elementary.h"

namespace bitmar::compat {

namespace {

constexpr float kWarmUp = 10;      // writes before episodes are normalised
constexpr double kTiny = 1e-8;     // keeps quotients and logarithms finite
constexpr double kRemember = 0.9;  // of a slot's importance after a read

Matrix matrix_of(std::span<const float> values, int rows, int columns) {
  Matrix m(rows, columns);
  std::copy(values.begin(), values.end(), m.values.begin());
  return m;
}

double dot(const double* a, const double* b, int n) {
  double sum = 0;
  for (int i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

void add_scaled(double a, const double* x, int n, double* y) {
  for (int i = 0; i < n; ++i) y[i] += a * x[i];
}

void add_positions(std::span<const float> positions, Matrix& x) {
  for (std::size_t i = 0; i < x.values.size(); ++i) x.values[i] += positions[i];
}

}  // namespace

Model::Model(const Config& config, const SafeTensors& file, const Kernels& kernels)
    : config_(config), kernels_(kernels), weights_(config, file, kernels) {
  const Memory& memory = weights_.memory;
  importance_.assign(memory.importance.begin(), memory.importance.end());
  const Matrix slots = matrix_of(memory.slots, config.num_slots, config.hidden_size);
  keys_ = memory_net(memory.key_net, slots);
  values_ = memory_net(memory.value_net, slots);
}

Model::Result Model::run(std::span<const int> tokens, Vision vision, int first, const Observer& observe) const {
  check(tokens, vision, first);
  const auto seen_by = [&](std::string_view stage, const Matrix& values) {
    if (observe) observe(stage, values);
  };
  const Matrix text = encode(tokens, observe);
  seen_by("text_states", text);
  const Matrix seen = vision ? see(*vision) : Matrix(1, config_.hidden_size);
  seen_by("vision", seen);
  Matrix fused = fuse(text, seen);
  seen_by("fused", fused);
  const Matrix remembered = episode(text, seen, vision.has_value());
  seen_by("episode", remembered);
  Result result;
  const Matrix retrieved = read(remembered, result.shares);
  seen_by("retrieved", retrieved);
  add(linear(weights_.memory_to_decoder, retrieved), fused);
  const Matrix input = linear(weights_.decoder_input_proj, fused);
  seen_by("decoder_input", input);
  const Matrix states = decode(input, observe);
  seen_by("decoder_states", states);
  result.logits = linear(weights_.lm_head, states, first);
  return result;
}

void Model::count_read(std::span<const double> shares) {
  for (std::size_t i = 0; i < importance_.size(); ++i)
    importance_[i] = kRemember * importance_[i] + (1 - kRemember) * (shares[i] + kTiny);
}

// Bidirectional: every token sees those after it.
Matrix Model::encode(std::span<const int> tokens, const Observer& observe) const {
  const Transformer& encoder = weights_.text_encoder;
  const int n = static_cast<int>(tokens.size()), d = config_.hidden_size;
  Matrix x(n, d);
  for (int i = 0; i < n; ++i)
    std::copy_n(weights_.tokens.begin() + static_cast<std::ptrdiff_t>(tokens[i]) * d, d, x.row(i));
  add_positions(encoder.positions, x);
  for (std::size_t i = 0; i < encoder.blocks.size(); ++i) {
    transform(encoder.blocks[i], false, x);
    if (observe) observe("text_encoder.layers." + std::to_string(i), x);
  }
  return layer_norm(encoder.norm, x);
}

// It never looks at tokens of its own: all it gets of them is the encoder's.
Matrix Model::decode(Matrix x, const Observer& observe) const {
  const Transformer& decoder = weights_.decoder;
  add_positions(decoder.positions, x);
  for (std::size_t i = 0; i < decoder.blocks.size(); ++i) {
    transform(decoder.blocks[i], true, x);
    if (observe) observe("text_decoder.layers." + std::to_string(i), x);
  }
  return layer_norm(decoder.norm, x);
}

void Model::transform(const Block& block, bool causal, Matrix& x) const {
  add(attention(block, layer_norm(block.norm1, x), causal), x);
  const Matrix m = layer_norm(block.norm2, x);
  Matrix hidden = linear(block.fc1, m);
  gelu(hidden);
  Matrix inner = linear(block.fc2, hidden);
  add(m, inner);
  add(layer_norm(block.mlp_norm, inner), x);
}

Matrix Model::attention(const Block& block, const Matrix& x, bool causal) const {
  const Matrix q = linear(block.q_proj, x), k = linear(block.k_proj, x), v = linear(block.v_proj, x);
  const int head = config_.head_size();
  const double scale = 1 / std::sqrt(static_cast<double>(head));
  Matrix mixed(x.rows, x.columns);
  std::vector<double> shares;
  for (int row = 0; row < x.rows; ++row) {
    for (int start = 0; start < x.columns; start += head) {
      shares.resize(causal ? row + 1 : x.rows);
      for (int i = 0; i < static_cast<int>(shares.size()); ++i)
        shares[i] = dot(q.row(row) + start, k.row(i) + start, head) * scale;
      softmax(shares);
      for (int i = 0; i < static_cast<int>(shares.size()); ++i)
        add_scaled(shares[i], v.row(i) + start, head, mixed.row(row) + start);
    }
  }
  return linear(block.out_proj, mixed);
}

// [1, d]
Matrix Model::see(std::span<const float> vision) const {
  Matrix x = matrix_of(vision, 1, config_.vision_features);
  for (const VisionLayer& layer : weights_.vision) {
    x = layer_norm(layer.norm, linear(layer.linear, x));
    gelu(x);
  }
  return linear(weights_.vision_proj, x);
}

// The image is one key, so that attention to it is the same addend for every token.
Matrix Model::fuse(const Matrix& text, const Matrix& seen) const {
  Matrix x = linear(weights_.fusion_text_proj, text);
  const Matrix key = linear(weights_.fusion_vision_proj, seen);
  for (const FusionLayer& layer : weights_.fusion) {
    add(linear(layer.out_proj, linear(layer.v_proj, key)), x);
    x = layer_norm(layer.norm, x);
  }
  return linear(weights_.fusion_output_proj, x);
}

// [1, d]
Matrix Model::episode(const Matrix& text, const Matrix& seen, bool vision) const {
  Matrix mean(1, text.columns);
  for (int i = 0; i < text.rows; ++i) add_scaled(1.0 / text.rows, text.row(i), text.columns, mean.row(0));
  Matrix e = linear(weights_.text_to_episode, mean);
  if (vision || config_.keep_vision_bias) add(linear(weights_.vision_to_episode, seen), e);
  return e;
}

Matrix Model::memory_net(const MemoryNet& net, const Matrix& x) const {
  Matrix hidden = layer_norm(net.norm, linear(net.first, x));
  gelu(hidden);
  Matrix y = linear(net.second, hidden);
  add(x, y);
  return y;
}

// [1, d]; shares [K]
Matrix Model::read(Matrix e, std::vector<double>& shares) const {
  const Memory& memory = weights_.memory;
  const int d = config_.hidden_size;
  if (memory.writes > kWarmUp) {
    for (int i = 0; i < d; ++i) e.values[i] = (e.values[i] - memory.mean[i]) / (memory.std[i] + kTiny);
  }
  const Matrix q = memory_net(memory.query_net, e);
  const double temperature = std::clamp<double>(memory.temperature, 0.1, 10), width = std::sqrt(static_cast<double>(d));
  for (int i = 0; i < keys_.rows; ++i)
    shares.push_back(dot(q.row(0), keys_.row(i), d) / (width * temperature) + natural_log(importance_[i] + kTiny));
  softmax(shares);
  Matrix retrieved(1, d);
  for (int i = 0; i < keys_.rows; ++i) add_scaled(shares[i], values_.row(i), d, retrieved.row(0));
  return retrieved;
}

void Model::check(std::span<const int> tokens, const Vision& vision, int first) const {
  const auto refuse = [](const std::string& message) { throw Error(ErrorCode::invalid_argument, message); };
  const int n = static_cast<int>(tokens.size());
  if (tokens.empty()) refuse("there is no token");
  if (tokens.size() > static_cast<std::size_t>(config_.max_positions))
    throw Error(ErrorCode::text_too_long, "the text has " + std::to_string(tokens.size()) + " tokens; the model has " +
                                              std::to_string(config_.max_positions) + " positions");
  for (const int token : tokens) {
    if (token < 0 || token >= config_.vocab_size) refuse("there is no token " + std::to_string(token));
  }
  if (first < 0 || first >= n) refuse("there is no position " + std::to_string(first));
  if (!vision) return;
  if (vision->size() != static_cast<std::size_t>(config_.vision_features))
    refuse("the vision vector has " + std::to_string(vision->size()) + " numbers; the model takes " +
           std::to_string(config_.vision_features));
  if (!std::ranges::all_of(*vision, [](float v) { return std::isfinite(v); }))
    refuse("the vision vector holds a number that is not finite");
}

}  // namespace bitmar::compat
