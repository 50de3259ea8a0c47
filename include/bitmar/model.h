// A model: photos and prompts in, captions, answers and embeddings out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bitmar/error.h"
#include "bitmar/explanation.h"
#include "bitmar/image.h"
#include "bitmar/memory.h"
#include "bitmar/options.h"

namespace bitmar {

class Engine;

// The files of a model's folder, as bytes. Nothing is kept of them after load().
struct ModelFiles {
  std::string config_json, tokenizer_json, preprocessor_json;
  std::span<const std::uint8_t> safetensors;
};

// What a model takes, in bytes. All of it is reserved by load(); a token allocates nothing.
struct MemoryReport {
  std::size_t weights = 0, activations = 0, kv_cache = 0, memory_slots = 0, scratch = 0;
  std::size_t total() const { return weights + activations + kv_cache + memory_slots + scratch; }
};

struct ModelInfo {
  std::size_t parameters = 0;
  MemoryReport bytes;
  std::string_view kernels;  // the instructions in use: "avx2", "neon_dot", "scalar" ... (docs/platforms.md)
  int threads = 1;           // fewer than asked for where the system gives no more
  bool can_ask = false;      // it answers questions
};

// One call at a time; different Models may be used from different threads at once. A moved-from Model can only be
// assigned to or destroyed. The same input, options and memory give the same result, bit for bit, on every platform.
//
// Members that take an image throw invalid_argument where the model was trained on feature grids and not on pixels,
// those that take a text text_too_long and invalid_text. Weights that lead to numbers that are not finite throw
// invalid_model.
class Model {
 public:
  // From a folder with config.json, tokenizer.json, preprocessor_config.json and model.safetensors. Throws
  // missing_file, invalid_config, invalid_model, unsupported_tensor_type, out_of_memory, invalid_argument (options).
  static Model load(const std::filesystem::path& folder, const LoadOptions& options = {});
  // From the same files in memory.
  static Model load(const ModelFiles& files, const LoadOptions& options = {});

  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;
  ~Model();

  // The image may have any size: it is squashed to the model's square. `on_piece` streams the text; an exception that
  // it throws passes through. Throws invalid_argument for the options, and to `on_piece` where it wants a caption, an
  // answer or an embedding of a picture from this same model.
  CaptionResult caption(const ImageView& image, const CaptionOptions& options = {}, const TokenCallback& on_piece = {});
  // Without an image: continues options.prefix, which may be empty, conditioned on options.prompt. Beyond the decoder's
  // window it sees the text's first and last tokens.
  CaptionResult caption_text(const CaptionOptions& options, const TokenCallback& on_piece = {});

  // The answer to a question about an image, a word or a short phrase. The question is read in lower case with single
  // spaces; the memory has no part in it. Throws unsupported where the model cannot answer (info().can_ask),
  // invalid_argument for an empty question or the options.
  Answer ask(const ImageView& image, std::string_view question, const AskOptions& options = {});

  // How likely each continuation is after `prefix`, which may be empty, and after an image if there is one. Texts are
  // read in lower case where the tokenizer does so, with all their spaces: what goes on with another word begins with a
  // space, what begins a caption does not. Streams that are longer than the decoder's window keep their first tokens
  // and their last, as captions do. What the decoder keeps of the prefix is computed once. Throws invalid_argument
  // where there is no continuation or one is empty, text_too_long (kMostRead bytes each), invalid_text.
  std::vector<Score> score(std::string_view prefix, std::span<const std::string> continuations,
                           const ScoreOptions& options = {});
  std::vector<Score> score(const ImageView& image, std::string_view prefix, std::span<const std::string> continuations,
                           const ScoreOptions& options = {});

  // How `text` comes about as the caption of an image: what each word looks at, what is expected of the picture, and
  // what the memory gives. Of a caption, with its own prompt and read_memory; or of any text shorter than the decoder's
  // window, whose words the model is then made to say. The memory is read as it is now. It takes about as long as a
  // caption without beams. Throws text_too_long and invalid_text for the texts, invalid_argument for the options.
  Explanation explain(const ImageView& image, std::string_view text, const ExplainOptions& options = {});

  // A vector of unit length, 128 numbers in the default model, in the space that images and texts share and that
  // recall() searches: the dot product of two is their cosine similarity. Of an image, of an image read with a text in
  // mind, or of a text, which must not be empty (invalid_argument).
  std::vector<float> embed(const ImageView& image, std::string_view text = {});
  std::vector<float> embed(std::string_view text);

  // What this model has seen, empty at first.
  Memory memory();

  ModelInfo info() const;

 private:
  explicit Model(std::unique_ptr<Engine> engine);

  std::unique_ptr<Engine> engine_;
};

}  // namespace bitmar
