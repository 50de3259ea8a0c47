#include "model/engine.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <new>
#include <utility>

#include "io/error.h"
#include "io/resize.h"
#include "io/unicode.h"
#include "memory/episode.h"
#include "runtime/elementary.h"

namespace bitmar {

static_assert(kMostBeams == kMaxBeams);

namespace {

constexpr std::size_t kReadAtOnce = 16;  // prefix tokens per step(): how soon a caller can stop it

class Stopwatch {
 public:
  double ms() const { return std::chrono::duration<double, std::milli>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

void require(bool condition, const std::string& what) {
  if (!condition) throw Error(ErrorCode::invalid_argument, what);
}

}  // namespace

ModelFiles files_of(const ModelDirectory& d) {
  return {d.config_json, d.tokenizer_json, d.preprocessor_json, d.safetensors};
}

std::unique_ptr<Engine> Engine::load(const ModelFiles& files, const LoadOptions& options) {
  try {
    require(chosen_kernels().known, "the environment variable BITMAR_KERNELS names no kernels that this processor has");
    return load(files, options, bitmar::kernels());
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::out_of_memory, "there is not enough memory for this model");
  }
}

std::unique_ptr<Engine> Engine::load(const ModelFiles& files, const LoadOptions& options, const Kernels& kernels) {
  require(options.threads >= 1 && options.threads <= kMostThreads,
          "the number of threads is 1 to " + std::to_string(kMostThreads) + ", not " + std::to_string(options.threads));
  const Config config = parse_config(files.config_json);
  check_preprocessor(files.preprocessor_json, config);
  return std::unique_ptr<Engine>(new Engine(config, Tokenizer::parse(files.tokenizer_json),
                                            SafeTensors::parse(files.safetensors), options, kernels));
}

Engine::Engine(const Config& config, Tokenizer tokenizer, const SafeTensors& file, const LoadOptions& options,
               const Kernels& kernels)
    : model_(config, file, kernels, options.int8_kv_cache, options.threads),
      tokenizer_(std::move(tokenizer)),
      decoder_(tokenizer_) {
  if (tokenizer_.size() != config.vocab_size) {
    throw Error(ErrorCode::invalid_model, "the tokenizer has " + std::to_string(tokenizer_.size()) +
                                              " tokens, the model " + std::to_string(config.vocab_size));
  }
  if (config.vision.takes_pixels())
    pixels_.resize(std::size_t{3} * config.vision.image_size * config.vision.image_size);
  if (config.ask && !tokenizer_.bytes(config.ask->token_id).empty()) {
    throw Error(ErrorCode::invalid_model,
                "the ask token, " + std::to_string(config.ask->token_id) + ", is not a special one of the tokenizer");
  }
  prompt_.reserve(config.text_encoder.max_tokens);
  beam_tokens_.reserve(kMaxBeams);
  beams_.reserve(kMaxBeams);
}

// ---- A whole caption ----

CaptionResult Engine::caption(const ImageView& image, const CaptionOptions& options, const TokenCallback& on_piece) {
  begin(image, options);
  return run(on_piece);
}

CaptionResult Engine::caption_features(std::span<const float> grid, const CaptionOptions& options,
                                       const TokenCallback& on_piece) {
  begin_features(grid, options);
  return run(on_piece);
}

CaptionResult Engine::caption_text(const CaptionOptions& options, const TokenCallback& on_piece) {
  begin_text(options);
  return run(on_piece);
}

CaptionResult Engine::run(const TokenCallback& on_piece) {
  const auto wants_more = [&](std::string_view piece) {
    struct Calling {
      bool& flag;
      explicit Calling(bool& f) : flag(f) { flag = true; }
      ~Calling() { flag = false; }
    } const calling(calling_back_);
    return on_piece(piece);
  };
  while (const auto piece = step()) {
    if (on_piece && !wants_more(*piece)) {
      result_.aborted = state_ == State::speaking;
      break;
    }
  }
  state_ = State::idle;
  return result();
}

// ---- In steps ----

void Engine::begin(const ImageView& image, const CaptionOptions& options) {
  const Stopwatch watch;
  start(options);
  const Picture picture = encode(image);
  result_.vision_ms = watch.ms();
  begin_caption(picture);
}

void Engine::begin_features(std::span<const float> grid, const CaptionOptions& options) {
  const Stopwatch watch;
  start(options);
  const Picture picture = model_.encode(grid);
  result_.vision_ms = watch.ms();
  begin_caption(picture);
}

void Engine::begin_text(const CaptionOptions& options) {
  start(options);
  begin_caption(std::nullopt);
}

Picture Engine::encode(const ImageView& image) {
  require(!pixels_.empty(), "this model takes feature grids, not images");
  const int side = config().vision.image_size;
  resize_bilinear(image, side, side, pixels_, model_.kernels());
  return model_.encode(pixels_.data());
}

// A picture or text of a callback's own would take the place of the one that the callback is told of.
void Engine::check_not_calling_back() const {
  require(!calling_back_, "a TokenCallback cannot use the model whose caption it is told of");
}

void Engine::start(const CaptionOptions& o) {
  check_not_calling_back();
  state_ = State::idle;
  require(o.max_tokens >= 1 && o.max_tokens <= kMostTokens,
          "max_tokens must be from 1 to " + std::to_string(kMostTokens));
  require(o.num_beams >= 1 && o.num_beams <= kMaxBeams, "num_beams must be from 1 to " + std::to_string(kMaxBeams));
  require(o.temperature >= 0 && o.temperature <= kMostTemperature,
          "temperature must be from 0 to " + std::to_string(kMostTemperature));
  require(o.top_p > 0 && o.top_p <= 1, "top_p must be above 0 and at most 1");
  require(std::abs(o.length_penalty.value_or(0)) <= kMostLengthPenalty,
          "length_penalty must be from -" + std::to_string(kMostLengthPenalty) + " to " +
              std::to_string(kMostLengthPenalty));
  require(o.num_beams == 1 || o.temperature == 0, "beam search takes no temperature");
  require(o.num_beams == 1 || o.prefix.empty(), "beam search takes no prefix");
  const int rows = config().decoder.num_sinks + config().decoder.window_size;
  require(o.num_beams == 1 || o.max_tokens <= rows / o.num_beams,
          "num_beams * max_tokens must be at most " + std::to_string(rows));
  options_ = o;
  prompt_ = prompt_tokens(config().bos_token_id, o.prompt);
  prefix_ = plain_tokens(o.prefix, kMostRead);
  subject_.reset();
  result_ = {};
  decoder_.reset();
}

// A text's, whatever the text encoder takes.
std::vector<int> Engine::plain_tokens(std::string_view text, std::size_t most) const {
  if (text.size() > most) {
    throw Error(ErrorCode::text_too_long, "a text has at most " + std::to_string(most) + " bytes here, this one has " +
                                              std::to_string(text.size()));
  }
  return tokenizer_.encode(text);
}

std::vector<int> Engine::prompt_tokens(int first, std::string_view text) const {
  std::vector<int> tokens = plain_tokens(text);
  tokens.insert(tokens.begin(), first);
  model_.check_prompt(tokens);
  return tokens;
}

void Engine::begin_caption(const std::optional<Picture>& picture) {
  const Stopwatch watch;
  subject_ = {picture, prompt_};
  prefill(subject_->seen(), picture ? model_.expect_words(*picture) : std::nullopt);
  result_.text_ms = watch.ms();
}

// Prompt, fusion, memory and conditioning; then everything that a token will need is in place.
void Engine::prefill(const Picture* picture, std::optional<Guide> expected) {
  const Context context = model_.fuse(picture, prompt_);
  model_.prefill(context, picture, options_.read_memory ? model_.retrieve(context) : std::nullopt);
  words_ = expected;
  if (options_.num_beams > 1) {
    const BagOfWordsConfig head = words_ ? *config().bag_of_words : BagOfWordsConfig();
    model_.beam_search().start({.beams = options_.num_beams,
                                .max_tokens = options_.max_tokens,
                                .length_penalty = options_.length_penalty.value_or(head.length_penalty),
                                .begin_token = prompt_.front(),
                                .end_token = config().eos_token_id,
                                .guide = words_.value_or(Guide()),
                                .guidance = head.guidance,
                                .rerank_weight = head.rerank_weight});
  } else {
    model_.sampler().start({.temperature = options_.temperature, .top_p = options_.top_p}, options_.seed);
    prefix_.insert(prefix_.begin(), prompt_.front());
    read_ = 0;
  }
  result_.tokens.reserve(options_.max_tokens);
  state_ = State::speaking;
}

std::optional<std::string_view> Engine::step() {
  if (state_ == State::idle) return std::nullopt;
  const Stopwatch watch;
  const auto piece = options_.num_beams > 1 ? speak_beams() : speak();
  if (const auto& fit = config().confidence;
      fit && state_ == State::idle && subject_ && subject_->picture && options_.prefix.empty()) {
    result_.confidence = confidence(*fit, *subject_->picture);
  }
  result_.text_ms += watch.ms();
  return piece;
}

// A logistic regression of how likely the model finds its words, of how alike picture and caption are in the memory's
// space (their cosine), and of how well the caption agrees with the words that were expected
// (models/bitmar/eval/calibrate.py).
double Engine::confidence(const ConfidenceConfig& fit, const Picture& picture) {
  const double mean = result_.log_probability / static_cast<double>(result_.tokens.size() + 1);  // the end counts
  const Context seen = model_.fuse(&picture, bos());
  const Context said = model_.fuse(nullptr, text_tokens(tokenizer_.decode(result_.tokens)));
  const double alike = model_.kernels().dot(seen.query.data(), said.query.data(), config().memory.width);
  const double agreement = words_ ? words_->cosine(result_.tokens) : 0;
  const double evidence = fit.slope * mean + fit.similarity * alike + fit.agreement * agreement;
  BitMar::check_finite(evidence);
  return 1 / (1 + natural_exp(-(evidence + fit.offset)));
}

std::optional<std::string_view> Engine::speak() {
  if (state_ == State::speaking && read_ + 1 < prefix_.size()) {
    const std::size_t end = std::min(read_ + kReadAtOnce, prefix_.size() - 1);
    for (; read_ < end; ++read_) model_.decode(prefix_[read_]);
    return std::string_view();
  }
  if (state_ == State::speaking) {
    const int last = result_.tokens.empty() ? prefix_.back() : result_.tokens.back();
    const Sampler::Choice choice = model_.sampler().choose(model_.kernels(), model_.decode(last));
    BitMar::check_finite(choice.log_probability);
    result_.log_probability += choice.log_probability;
    if (choice.token != config().eos_token_id) {
      result_.tokens.push_back(choice.token);
      if (static_cast<int>(result_.tokens.size()) == options_.max_tokens) state_ = State::ending;
      return decoder_.push(choice.token);
    }
  }
  state_ = State::idle;
  const std::string_view rest = decoder_.finish();
  if (rest.empty()) return std::nullopt;
  return rest;
}

std::optional<std::string_view> Engine::speak_beams() {
  BeamSearch& search = model_.beam_search();
  beam_tokens_.clear();
  beams_.clear();
  for (int i = 0; i < search.live(); ++i) {
    beam_tokens_.push_back(search.token(i));
    beams_.push_back({search.row(i), search.rows(i)});
  }
  if (search.step(model_.kernels(), model_.decode(beam_tokens_, beams_))) return std::string_view();
  state_ = State::idle;
  result_.tokens.assign(search.tokens().begin(), search.tokens().end());
  result_.log_probability = search.log_probability();
  BitMar::check_finite(result_.log_probability);
  beam_text_ = tokenizer_.decode(result_.tokens);
  for (int rank = 1; rank < search.found(); ++rank) {
    const std::string text = tokenizer_.decode(search.tokens(rank));
    const auto same = [&](const Alternative& other) { return other.text == text; };
    if (text == beam_text_ || std::ranges::any_of(result_.alternatives, same)) continue;
    result_.alternatives.push_back({text, search.log_probability(rank)});
  }
  return beam_text_;
}

CaptionResult Engine::result() const {
  CaptionResult result = result_;
  result.text = tokenizer_.decode(result.tokens);
  return result;
}

// ---- Questions ----

Answer Engine::ask(const ImageView& image, std::string_view question, const AskOptions& options) {
  const Stopwatch watch;
  start_answer(question, options);
  const Picture picture = encode(image);
  return answer(picture, watch.ms());
}

Answer Engine::ask_features(std::span<const float> grid, std::string_view question, const AskOptions& options) {
  const Stopwatch watch;
  start_answer(question, options);
  const Picture picture = model_.encode(grid);
  return answer(picture, watch.ms());
}

void Engine::start_answer(std::string_view question, const AskOptions& options) {
  if (!can_ask()) throw Error(ErrorCode::unsupported, "this model answers no questions");
  const std::string text = single_spaces(question);
  require(!text.empty(), "there is no question");
  start({.max_tokens = options.max_tokens.value_or(config().ask->max_tokens),
         .num_beams = options.num_beams,
         .length_penalty = 0});  // the plain sum of log-probabilities
  prompt_ = prompt_tokens(config().ask->token_id, text);
}

// Words are expected of captions, not of answers.
Answer Engine::answer(const Picture& picture, double vision_ms) {
  const Stopwatch watch;
  prefill(&picture, std::nullopt);
  while (step()) {
  }
  Answer answer{.text = single_spaces(tokenizer_.decode(result_.tokens)),
                .tokens = std::move(result_.tokens),
                .log_probability = result_.log_probability,
                .confidence = natural_exp(result_.log_probability),
                .vision_ms = vision_ms,
                .text_ms = watch.ms()};
  answer.declined = answer.text.empty();
  result_ = {};
  return answer;
}

// ---- Memory and figures ----

std::span<const float> Engine::embed(const ImageView* image, std::string_view text) {
  require(image || !text.empty(), "there is neither an image nor a text to embed");
  const std::vector<int> tokens = prompt_tokens(config().bos_token_id, text);
  if (!image) return model_.fuse(nullptr, tokens).query;
  const Picture picture = encode_other(*image);
  return model_.fuse(&picture, tokens).query;
}

// The caption under way is gone with its image.
Picture Engine::encode_other(const ImageView& image) {
  end_caption();
  return encode(image);
}

void Engine::end_caption() {
  check_not_calling_back();
  state_ = State::idle;
  subject_.reset();
}

void Engine::resize_memory(int slots) {
  require(slots >= 1 && slots <= EpisodicMemory::kMaxSlots,
          "a memory has 1 to " + std::to_string(EpisodicMemory::kMaxSlots) + " slots");
  require(memory().size() == 0, "a memory that holds something keeps its number of slots");
  replace_memory(slots);
}

// Another memory, empty, that counts on from where this one is.
void Engine::replace_memory(int slots) {
  const std::uint64_t sequence = memory().sequence(), next_id = memory().next_id();
  try {
    model_.resize_memory(slots);
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::out_of_memory, "there is not enough memory for " + std::to_string(slots) + " slots");
  }
  memory().continue_from(sequence, next_id);
}

EpisodicMemory::LoadReport Engine::load_memory(std::optional<ByteSpan> snapshot, std::span<const ByteSpan> frames,
                                               bool shrink) {
  if (memory().follows(snapshot)) return memory().load(snapshot, frames);
  EpisodicMemory::Saved saved = memory().read_state(snapshot, frames);
  if (!shrink && saved.capacity() > memory().capacity()) replace_memory(saved.capacity());
  return memory().load(std::move(saved));
}

EpisodicMemory::LoadReport Engine::adopt_memory(ByteSpan snapshot, bool shrink) {
  EpisodicMemory::Saved saved = memory().read_import(snapshot);
  if (!shrink && saved.episodes() > memory().capacity()) replace_memory(saved.capacity());
  return memory().adopt(std::move(saved));
}

void Engine::restore(const ImageView& image, const Episode& episode, std::string_view text) {
  const auto [own, with_text] = contexts_of({encode_other(image), {}}, text);
  memory().restore(episode, own.query, with_text.value);
}

Engine::EpisodeContexts Engine::contexts_of(const Subject& subject, std::string_view text) {
  const Context own = model_.fuse(subject.seen(), subject.picture ? bos() : subject.prompt);
  return {own, model_.fuse(subject.seen(), text_tokens(text))};
}

const Engine::Subject& Engine::remembered() const {
  require(subject_.has_value(), "there is no image or prompt to remember");
  return *subject_;
}

// BOS and as much of a text as a prompt may hold. Of a very long one the end is not even looked at; characters are
// whole there, since a continuing byte is never the first one that is cut off.
std::vector<int> Engine::text_tokens(std::string_view text) const {
  std::size_t size = std::min(text.size(), kMostText);
  while (size < text.size() && size > 0 && (text[size] & 0xC0) == 0x80) --size;
  text = text.substr(0, size);
  std::vector<int> tokens = tokenizer_.encode(text);
  tokens.insert(tokens.begin(), config().bos_token_id);
  tokens.resize(std::min(tokens.size(), static_cast<std::size_t>(config().text_encoder.max_tokens)));
  return tokens;
}

EpisodicMemory::Written Engine::remember(double now_ms, std::string_view text) {
  return remember(remembered(), now_ms, text);
}

EpisodicMemory::Written Engine::remember(const ImageView& image, double now_ms, std::string_view text) {
  return remember({encode_other(image), {}}, now_ms, text);
}

EpisodicMemory::Written Engine::remember(const Subject& subject, double now_ms, std::string_view text) {
  const auto [own, with_text] = contexts_of(subject, text);
  return memory().write(own.query, with_text.value, now_ms);
}

EpisodicMemory::Written Engine::teach(double now_ms, std::string_view label) {
  check_label(label);
  return teach(remembered(), now_ms, label);
}

EpisodicMemory::Written Engine::teach(const ImageView& image, double now_ms, std::string_view label) {
  check_label(label);
  return teach({encode_other(image), {}}, now_ms, label);
}

EpisodicMemory::Written Engine::teach(const Subject& subject, double now_ms, std::string_view label) {
  const auto [own, with_label] = contexts_of(subject, label);
  return memory().teach(own.query, with_label.value, label, now_ms);
}

MemoryReport Engine::bytes() const {
  const Arena& arena = model_.arena();
  return {.weights = model_.weights().bytes,
          .activations = arena.bytes(Purpose::activations) + pixels_.size(),
          .kv_cache = arena.bytes(Purpose::kv_cache),
          .memory_slots = model_.memory_arena().bytes(Purpose::memory_slots),
          .scratch = arena.bytes(Purpose::scratch) + model_.memory_arena().bytes(Purpose::scratch)};
}

}  // namespace bitmar
