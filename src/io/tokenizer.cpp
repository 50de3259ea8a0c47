#include "io/tokenizer.h"

#include <algorithm>
#include <queue>
#include <tuple>

#include "io/error.h"
#include "io/unicode.h"

namespace bitmar {

std::vector<std::string_view> split_words(std::string_view text) {
  struct Letter {
    CharClass kind;
    std::size_t begin;
  };
  std::vector<Letter> letters;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8 c = read_utf8(text.substr(at));
    letters.push_back({char_class(c.code), at});
    at += c.size;
  }
  const std::size_t n = letters.size();
  letters.push_back({CharClass::other, text.size()});
  const auto run_end = [&](std::size_t i) {
    const CharClass kind = letters[i].kind;
    while (i < n && letters[i].kind == kind) ++i;
    return i;
  };
  // 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
  const auto piece_end = [&](std::size_t i) {
    const std::string_view rest = text.substr(letters[i].begin);
    if (rest[0] == '\'') {
      for (const std::string_view suffix : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
        if (rest.starts_with(suffix)) return i + suffix.size();
      }
    }
    const std::size_t word = i + (rest[0] == ' ');
    if (word < n && letters[word].kind != CharClass::space) return run_end(word);
    // Spaces. The last one before a word is left to it, or stands alone.
    const std::size_t end = run_end(i);
    return end == n || end == i + 1 ? end : end - 1;
  };
  std::vector<std::string_view> pieces;
  for (std::size_t i = 0; i < n;) {
    const std::size_t end = piece_end(i);
    pieces.push_back(text.substr(letters[i].begin, letters[end].begin - letters[i].begin));
    i = end;
  }
  return pieces;
}

std::vector<int> Tokenizer::encode(std::string_view text) const {
  std::string lower;
  if (lower_case_) {
    lower = bitmar::lower_case(text);
    text = lower;
  } else {
    check_utf8(text);
  }
  std::vector<int> tokens;
  for (const std::string_view piece : split_words(text)) encode_piece(piece, tokens);
  return tokens;
}

const Tokenizer::Merge* Tokenizer::find_merge(int left, int right) const {
  const std::uint64_t pair = pair_of(left, right);
  const auto found = std::lower_bound(merges_.begin(), merges_.end(), pair,
                                      [](const Merge& m, std::uint64_t p) { return m.pair < p; });
  return found != merges_.end() && found->pair == pair ? &*found : nullptr;
}

// Again and again the pair that was learnt first, the leftmost of equals. A queue of candidates, since a piece
// may be as long as the text.
void Tokenizer::encode_piece(std::string_view piece, std::vector<int>& tokens) const {
  struct Symbol {
    int token;  // -1: merged into the one before it
    int previous, next;
  };
  const int n = static_cast<int>(piece.size());
  std::vector<Symbol> symbols;
  symbols.reserve(piece.size());
  for (int i = 0; i < n; ++i) {
    symbols.push_back({byte_tokens_[static_cast<unsigned char>(piece[i])], i - 1, i + 1});
  }
  using Candidate = std::tuple<int, int, int, int, int>;  // rank, position, left, right, merged
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates;
  const auto propose = [&](int left) {
    if (left < 0 || symbols[left].next >= n) return;
    const int a = symbols[left].token, b = symbols[symbols[left].next].token;
    if (const Merge* merge = find_merge(a, b)) candidates.emplace(merge->rank, left, a, b, merge->token);
  };
  for (int i = 0; i + 1 < n; ++i) propose(i);
  while (!candidates.empty()) {
    const auto [rank, left, a, b, merged] = candidates.top();
    candidates.pop();
    Symbol& symbol = symbols[left];
    // Either side may have been merged since.
    if (symbol.token != a || symbol.next >= n || symbols[symbol.next].token != b) continue;
    symbols[symbol.next].token = -1;
    symbol.token = merged;
    symbol.next = symbols[symbol.next].next;
    if (symbol.next < n) symbols[symbol.next].previous = left;
    propose(symbol.previous);
    propose(left);
  }
  for (int i = 0; i < n; i = symbols[i].next) tokens.push_back(symbols[i].token);
}

std::string_view Tokenizer::bytes(int token) const {
  if (token < 0 || token >= size()) {
    throw Error(ErrorCode::invalid_argument, "there is no token " + std::to_string(token));
  }
  return bytes_[token];
}

std::string Tokenizer::decode(std::span<const int> tokens) const {
  StreamingDecoder decoder(*this);
  std::string text;
  for (const int token : tokens) text += decoder.push(token);
  return text += decoder.finish();
}

StreamingDecoder::StreamingDecoder(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {
  const std::size_t most = tokenizer.longest() + 3;  // with the begin of a character, cut off after three bytes
  pending_.reserve(most);
  text_.reserve(3 * most);  // U+FFFD is three bytes for one
}

std::string_view StreamingDecoder::push(int token) {
  pending_ += tokenizer_->bytes(token);
  move_whole(false);
  return text_;
}

std::string_view StreamingDecoder::finish() {
  move_whole(true);
  return text_;
}

void StreamingDecoder::move_whole(bool all) {
  text_.clear();
  std::size_t at = 0;
  while (at < pending_.size()) {
    const std::string_view rest = std::string_view(pending_).substr(at);
    const Utf8 c = read_utf8(rest);
    if (c.state == Utf8::State::cut_off && !all) break;
    text_ += c.state == Utf8::State::whole ? rest.substr(0, c.size) : "\xEF\xBF\xBD";
    at += c.size;
  }
  pending_.erase(0, at);
}

}  // namespace bitmar
