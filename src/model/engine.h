// Photos and prompts in, captions out: the model with its tokenizer and its image preparation.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bitmar/explanation.h"
#include "bitmar/image.h"
#include "bitmar/model.h"
#include "bitmar/options.h"
#include "io/model_files.h"
#include "io/tokenizer.h"
#include "model/bitmar.h"

namespace bitmar {

ModelFiles files_of(const ModelDirectory& directory);

class Engine {
 public:
  // Throws invalid_config, invalid_model, unsupported_tensor_type, invalid_argument (options), out_of_memory.
  static std::unique_ptr<Engine> load(const ModelFiles& files, const LoadOptions& options = {});
  // With a table of kernels of one's own. std::bad_alloc where there is no memory.
  static std::unique_ptr<Engine> load(const ModelFiles& files, const LoadOptions& options, const Kernels& kernels);

  // ---- A whole caption ----
  CaptionResult caption(const ImageView& image, const CaptionOptions& options, const TokenCallback& on_piece = {});
  CaptionResult caption_features(std::span<const float> grid, const CaptionOptions& options,
                                 const TokenCallback& on_piece = {});
  CaptionResult caption_text(const CaptionOptions& options, const TokenCallback& on_piece = {});

  // ---- The same in steps, so that a caller can do other things between tokens ----
  // begin computes everything up to the first token of caption or prefix; a new begin drops what was unfinished.
  void begin(const ImageView& image, const CaptionOptions& options);
  void begin_features(std::span<const float> grid, const CaptionOptions& options);
  void begin_text(const CaptionOptions& options);
  // One token (of every beam), or some of the prefix. The text that it completes, which may be empty, valid until the
  // next call; nothing once the caption is over. Does not allocate, beam search's last call aside.
  std::optional<std::string_view> step();
  // The caption so far.
  CaptionResult result() const;

  // ---- Questions ----
  bool can_ask() const { return config().ask.has_value(); }
  // The answer to a question about a picture, a word or a short phrase, the likeliest word after word. The question is
  // read in lower case with single spaces; the memory has no part in it. It ends the caption under way. Throws
  // unsupported where the model cannot answer, invalid_argument for an empty question, text_too_long.
  Answer ask(const ImageView& image, std::string_view question, const AskOptions& options = {});
  Answer ask_features(std::span<const float> grid, std::string_view question, const AskOptions& options = {});

  // ---- How likely a text is (score.cpp) ----
  // Each continuation after `prefix`, and after an image or none (nullptr). The text encoder reads the beginning alone;
  // the decoder reads the prefix. It ends the caption under way. Throws invalid_argument where there is no continuation
  // or one is empty, text_too_long above kMostRead bytes, invalid_text.
  std::vector<Score> score(const ImageView* image, std::string_view prefix, std::span<const std::string> continuations,
                           const ScoreOptions& options = {});

  // ---- How a caption comes about (explain.cpp) ----
  // `text` as the caption of an image, word by word: any text, also one that the model would not say. It ends the
  // caption under way. Throws text_too_long and invalid_text for text and prompt, invalid_argument for the options.
  Explanation explain(const ImageView& image, std::string_view text, const ExplainOptions& options = {});

  // ---- Memory ----
  // Unit vector [C] of an image, a text, or both: what recall() compares. At least one must be given. Valid until the
  // next call. An image ends the caption under way.
  std::span<const float> embed(const ImageView* image, std::string_view text);
  EpisodicMemory& memory() { return model_.memory(); }
  // Another number of slots, of a memory that holds nothing.
  void resize_memory(int slots);
  // As the memory's own load and adopt. A memory too small for what was saved becomes as large as that one was, so that
  // nothing is lost; with `shrink` it keeps its size, and the weakest episodes are left out.
  EpisodicMemory::LoadReport load_memory(std::optional<ByteSpan> snapshot, std::span<const ByteSpan> frames,
                                         bool shrink);
  EpisodicMemory::LoadReport adopt_memory(ByteSpan snapshot, bool shrink);
  // An episode of another model's memory, from its picture: key and value are computed as by remember() and teach(),
  // all else stays. It ends the caption under way. Throws invalid_argument where the id is taken or no slot is free.
  void restore(const ImageView& image, const Episode& episode, std::string_view text);
  // Writes what the last begin was given, an image or a prompt alone, said to be `text` (of which as much counts as a
  // prompt may hold). The key is the image's or the prompt's query; the value holds image and text.
  EpisodicMemory::Written remember(double now_ms, std::string_view text);
  // The same of another image; it ends the caption under way.
  EpisodicMemory::Written remember(const ImageView& image, double now_ms, std::string_view text);
  // The same as one more example of `label`; of another image, it ends the caption under way.
  EpisodicMemory::Written teach(double now_ms, std::string_view label);
  EpisodicMemory::Written teach(const ImageView& image, double now_ms, std::string_view label);

  MemoryReport bytes() const;
  const Kernels& kernels() const { return model_.kernels(); }
  const char* kernels_name() const { return model_.kernels().name; }
  int threads() const { return model_.threads(); }  // fewer than asked for where the system gives no more
  const Config& config() const { return model_.config(); }
  const Tokenizer& tokenizer() const { return tokenizer_; }
  BitMar& model() { return model_; }

 private:
  enum class State { idle, speaking, ending };
  // What was begun and can be remembered: a picture, or a prompt alone.
  struct Subject {
    std::optional<Picture> picture;
    std::vector<int> prompt;
    const Picture* seen() const { return picture ? &*picture : nullptr; }
  };

  Engine(const Config& config, Tokenizer tokenizer, const SafeTensors& file, const LoadOptions& options,
         const Kernels& kernels);

  void check_not_calling_back() const;
  std::vector<int> plain_tokens(std::string_view text, std::size_t most = kMostText) const;
  void start(const CaptionOptions& options);
  void start_answer(std::string_view question, const AskOptions& options);
  Picture encode(const ImageView& image);
  void end_caption();
  Picture encode_other(const ImageView& image);
  void begin_caption(const std::optional<Picture>& picture);
  void prefill(const Picture* picture, std::optional<Guide> expected);
  Answer answer(const Picture& picture, double vision_ms);
  std::optional<std::string_view> speak();
  std::optional<std::string_view> speak_beams();
  CaptionResult run(const TokenCallback& on_piece);
  double confidence(const ConfidenceConfig& fit, const Picture& picture);
  std::vector<EpisodeRead> episodes_read();
  std::vector<ExpectedWord> words_expected(const Guide& guide, int most) const;
  // Key and value of an episode are the query of the first and the value of the second.
  struct EpisodeContexts {
    Context subject, with_text;
  };
  EpisodeContexts contexts_of(const Subject& subject, std::string_view text);
  const Subject& remembered() const;
  EpisodicMemory::Written remember(const Subject& subject, double now_ms, std::string_view text);
  EpisodicMemory::Written teach(const Subject& subject, double now_ms, std::string_view label);
  void replace_memory(int slots);
  std::vector<int> bos() const { return {config().bos_token_id}; }
  std::vector<int> text_tokens(std::string_view text) const;
  std::vector<int> prompt_tokens(int first, std::string_view text) const;

  BitMar model_;
  Tokenizer tokenizer_;
  StreamingDecoder decoder_;
  std::vector<std::uint8_t> pixels_;  // [S, S, 3]; empty when the model takes features
  CaptionOptions options_;
  CaptionResult result_;
  std::vector<int> prompt_;         // BOS first, or the ask token of a question
  std::vector<int> prefix_;         // what the decoder reads before it speaks: the prompt's first token and the prefix
  std::size_t read_ = 0;            // of it, so far
  std::optional<Subject> subject_;  // of the last begin(); absent after a question, and after another image
  std::optional<Guide> words_;      // that the model expects of the picture
  std::vector<int> beam_tokens_;
  std::vector<Decoder::Beam> beams_;
  std::string beam_text_;
  State state_ = State::idle;
  bool calling_back_ = false;
};

}  // namespace bitmar
