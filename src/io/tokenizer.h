// Text to tokens and back: byte-level byte pair encoding, from a Hugging Face tokenizer.json.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bitmar {

class Tokenizer {
 public:
  // Throws invalid_model if the document is broken, or asks for a step that is not done here.
  static Tokenizer parse(std::string_view json);

  // Special tokens are never read out of text: a prompt that says "<eos>" means these five characters.
  // Throws invalid_text if `text` is not UTF-8. Every text has tokens, since every byte has one.
  std::vector<int> encode(std::string_view text) const;
  // Special tokens are left out; bytes that are not UTF-8 become U+FFFD.
  std::string decode(std::span<const int> tokens) const;

  int size() const { return static_cast<int>(bytes_.size()); }
  // The bytes of a token, none of a special one. Throws invalid_argument if there is no such token.
  std::string_view bytes(int token) const;
  std::size_t longest() const { return longest_; }  // bytes of the longest token

 private:
  struct Merge {
    std::uint64_t pair;  // left << 32 | right
    int rank, token;
  };
  static std::uint64_t pair_of(int left, int right) {
    return static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right);
  }
  const Merge* find_merge(int left, int right) const;
  void encode_piece(std::string_view piece, std::vector<int>& tokens) const;

  bool lower_case_ = false;
  std::vector<std::string> bytes_;      // of each token
  std::array<int, 256> byte_tokens_{};  // the token of each single byte
  std::vector<Merge> merges_;           // by their pairs; a file that chose what collides could not slow this down
  std::size_t longest_ = 0;
};

// GPT-2's pre-tokenizer: contractions, words, numbers and signs with the space before them, other spaces.
std::vector<std::string_view> split_words(std::string_view utf8);

// Tokens in, text out, never half a character: its bytes are held back until it is whole.
class StreamingDecoder {
 public:
  explicit StreamingDecoder(const Tokenizer& tokenizer);

  void reset() { pending_.clear(); }
  // The text that this token completes, which may be empty. Valid until the next call. Does not allocate.
  std::string_view push(int token);
  // At the end: what never became a character, as U+FFFD.
  std::string_view finish();

 private:
  void move_whole(bool all);

  const Tokenizer* tokenizer_;
  std::string pending_, text_;
};

}  // namespace bitmar
