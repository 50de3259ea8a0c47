// tokenizer.json to a Tokenizer. Features that are not implemented here are refused, so no file is half understood.
#include <algorithm>
#include <map>
#include <string>

#include "io/error.h"
#include "io/heap_sort.h"
#include "io/json.h"
#include "io/tokenizer.h"
#include "io/unicode.h"

namespace bitmar {

namespace {

using nlohmann::json;

constexpr std::size_t kMaxFile = 8 << 20;  // GPT-2's has 1.4 MB
constexpr std::size_t kMaxTokens = 1 << 18;
constexpr std::size_t kMaxTokenBytes = 512;

[[noreturn]] void fail(const std::string& message) {
  throw Error(ErrorCode::invalid_model, "tokenizer.json: " + message);
}

// null where there is none. Not [], which on a constant object is undefined then.
const json& field(const json& object, const char* key) {
  static const json null;
  const auto found = object.is_object() ? object.find(key) : object.end();
  return object.is_object() && found != object.end() ? *found : null;
}

// Not ==, which makes a json of the other side first, and ends the process where there is no memory for it.
bool is_text(const json& value, std::string_view text) {
  return value.is_string() && value.get_ref<const std::string&>() == text;
}
bool is_boolean(const json& value, bool wanted) { return value.is_boolean() && value.get<bool>() == wanted; }

bool is_type(const json& step, std::string_view type) { return is_text(field(step, "type"), type); }

void check_steps(const json& document) {
  const json& normalizer = field(document, "normalizer");
  if (!normalizer.is_null() && !is_type(normalizer, "Lowercase")) fail("only the normalizer Lowercase is supported");
  const json& split = field(document, "pre_tokenizer");
  if (!is_type(split, "ByteLevel") || !is_boolean(field(split, "add_prefix_space"), false) ||
      is_boolean(field(split, "use_regex"), false)) {
    fail("pre_tokenizer must be ByteLevel, with use_regex and without add_prefix_space");
  }
  const json& finish = field(document, "post_processor");
  if (!finish.is_null() && !is_type(finish, "ByteLevel")) fail("only the post_processor ByteLevel is supported");
  if (!is_type(field(document, "decoder"), "ByteLevel")) fail("decoder must be ByteLevel");
  const json& model = field(document, "model");
  if (!is_type(model, "BPE")) fail("model must be BPE");
  for (const char* key :
       {"dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges"}) {
    const json& value = field(model, key);
    const bool zero = value.is_number() && value.get<double>() == 0;
    if (!value.is_null() && !is_boolean(value, false) && !is_text(value, "") && !zero)
      fail(std::string("model.") + key + " is not supported");
  }
}

// GPT-2's printable character for each byte: itself where it is printable, else the next from U+0100 on.
std::array<char32_t, 256> byte_alphabet() {
  std::array<char32_t, 256> alphabet;
  char32_t next = 256;
  for (char32_t b = 0; b < 256; ++b) {
    const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b != 0xAD);
    alphabet[b] = printable ? b : next++;
  }
  return alphabet;
}

// "Ġword" -> " word"
std::string bytes_of(const std::string& token) {
  static const std::array<char32_t, 256> alphabet = byte_alphabet();
  std::string bytes;
  for (std::size_t at = 0; at < token.size();) {
    const Utf8 c = read_utf8(std::string_view(token).substr(at));
    const auto found = std::find(alphabet.begin(), alphabet.end(), c.code);
    if (c.state != Utf8::State::whole || found == alphabet.end()) fail("\"" + token + "\" is no byte-level token");
    bytes.push_back(static_cast<char>(found - alphabet.begin()));
    at += c.size;
  }
  return bytes;
}

int token_id(const json& value, std::size_t limit) {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() >= limit)
    fail("the ids must be 0, 1, 2, ... without gaps");
  return value.get<int>();
}

}  // namespace

Tokenizer Tokenizer::parse(std::string_view text) {
  if (text.size() > kMaxFile) fail("the file is larger than any of a model");
  const JsonDocument parsed = parse_json(text, ErrorCode::invalid_model, "tokenizer.json");
  const json& document = *parsed;
  if (!document.is_object()) fail("the document must be an object");
  check_steps(document);
  const json& model = field(document, "model");
  const json& vocabulary = field(model, "vocab");
  const json& merges = field(model, "merges");
  const json& added = field(document, "added_tokens");
  if (!vocabulary.is_object() || vocabulary.empty() || vocabulary.size() > kMaxTokens)
    fail("model.vocab must hold the tokens");
  if (!merges.is_array() || merges.size() > kMaxTokens) fail("model.merges must be a list");
  if (!added.is_null() && !added.is_array()) fail("added_tokens must be a list");

  // Special tokens stand in the vocabulary too, or behind it.
  std::map<std::string, int> ids;  // sorted, not hashed: a file could choose tokens that all have one hash
  const std::size_t limit = vocabulary.size() + added.size();
  for (const auto& [token, id] : vocabulary.items()) ids.emplace_hint(ids.end(), token, token_id(id, limit));
  std::vector<bool> special(limit);
  for (const json& entry : added) {
    const json& content = field(entry, "content");
    if (!content.is_string()) fail("an added token has no content");
    const int id = token_id(field(entry, "id"), limit);
    if (ids.emplace(content.get<std::string>(), id).first->second != id) fail("an added token has two ids");
    special[id] = true;
  }

  Tokenizer result;
  result.lower_case_ = !field(document, "normalizer").is_null();
  result.bytes_.resize(ids.size());
  result.byte_tokens_.fill(-1);
  std::vector<bool> seen(ids.size());
  for (const auto& [token, id] : ids) {
    if (static_cast<std::size_t>(id) >= ids.size() || seen[id]) fail("the ids must be 0, 1, 2, ... without gaps");
    seen[id] = true;
    if (special[id]) continue;
    std::string bytes = bytes_of(token);
    if (bytes.empty() || bytes.size() > kMaxTokenBytes) fail("a token is empty or very long");
    if (bytes.size() == 1) result.byte_tokens_[static_cast<unsigned char>(bytes[0])] = id;
    result.longest_ = std::max(result.longest_, bytes.size());
    result.bytes_[id] = std::move(bytes);
  }
  if (std::count(result.byte_tokens_.begin(), result.byte_tokens_.end(), -1)) fail("not every byte has a token");

  int rank = 0;
  for (const json& merge : merges) {
    // "a b", or in newer files ["a", "b"]
    std::string left, right;
    if (merge.is_string()) {
      const std::string& pair = merge.get_ref<const std::string&>();
      const std::size_t space = pair.find(' ');
      if (space == std::string::npos) fail("a merge is no pair");
      left = pair.substr(0, space);
      right = pair.substr(space + 1);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      left = merge[0].get<std::string>();
      right = merge[1].get<std::string>();
    } else {
      fail("a merge is no pair");
    }
    const auto a = ids.find(left), b = ids.find(right), both = ids.find(left + right);
    if (a == ids.end() || b == ids.end() || both == ids.end())
      fail("a merge of \"" + left + "\" and \"" + right + "\" has no token");
    if (special[a->second] || special[b->second] || special[both->second])
      fail("a merge makes or takes a special token");
    result.merges_.push_back({pair_of(a->second, b->second), rank++, both->second});
  }
  heap_sort(result.merges_, [](const Merge& a, const Merge& b) { return a.pair < b.pair; });
  const auto twice = std::adjacent_find(result.merges_.begin(), result.merges_.end(),
                                        [](const Merge& a, const Merge& b) { return a.pair == b.pair; });
  if (twice != result.merges_.end()) fail("a merge is there twice");
  return result;
}

}  // namespace bitmar
