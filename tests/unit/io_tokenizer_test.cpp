// Byte-level BPE: against GPT-2's own tokens, and through everything that is not text.
#include "io/tokenizer.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "io/error.h"
#include "io/json.h"
#include "io/unicode.h"

namespace bitmar {
namespace {

using nlohmann::json;
using Pieces = std::vector<std::string_view>;

std::string read(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::string tiny() { return read(BITMAR_SOURCE_DIR "/tests/golden/tiny/tokenizer.json"); }

// Bytes as tokens, and what the merges make. `merges` like "a b".
json document_of(const std::vector<std::string>& merges) {
  json vocabulary;
  int id = 0;
  for (const char* token : {"<pad>", "<bos>", "<eos>"}) vocabulary[token] = id++;
  for (char32_t b = 0, next = 256; b < 256; ++b) {
    const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b != 0xAD);
    std::string character;
    append_utf8(character, printable ? b : next++);
    vocabulary[character] = id++;
  }
  for (const std::string& merge : merges) {
    std::string both = merge;
    both.erase(both.find(' '), 1);
    if (!vocabulary.contains(both)) vocabulary[both] = id++;
  }
  json added = json::array();
  for (const char* token : {"<pad>", "<bos>", "<eos>"}) {
    added.push_back({{"id", vocabulary[token]}, {"content", token}, {"special", true}});
  }
  return {{"added_tokens", added},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", merges}}}};
}

void expect_error(const json& document, const std::string& words) {
  try {
    Tokenizer::parse(document.dump());
    ADD_FAILURE() << "accepted; expected: " << words;
  } catch (const Error& error) {
    EXPECT_EQ(to_string(error.code()), "invalid_model");
    EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what() << "\nexpected: " << words;
  }
}

TEST(Words, AreSplitLikeGpt2) {
  EXPECT_EQ(split_words(""), Pieces{});
  EXPECT_EQ(split_words("a dog's 12 toys!"), (Pieces{"a", " dog", "'s", " 12", " toys", "!"}));
  EXPECT_EQ(split_words("we'll they're 'tis"), (Pieces{"we", "'ll", " they", "'re", " '", "tis"}));
  EXPECT_EQ(split_words("a   b  "), (Pieces{"a", "  ", " b", "  "}));
  EXPECT_EQ(split_words("a\n b\tc"), (Pieces{"a", "\n", " b", "\t", "c"}));
  EXPECT_EQ(split_words("x1y ½ ..'s"), (Pieces{"x", "1", "y", " ½", " ..'", "s"}));
  EXPECT_EQ(split_words("日本\u3000é"), (Pieces{"日本", "\u3000", "é"}));
}

TEST(LowerCase, IsUnicode) {
  EXPECT_EQ(lower_case("A Dog, ÀÉÎ ŠŸ ПРИВЕТ ΣΑΣ ẞ Ⅷ 𐐀 漢 ß"), "a dog, àéî šÿ привет σασ ß ⅷ 𐐨 漢 ß");
  EXPECT_EQ(lower_case("\u0130"), "i\u0307");
}

TEST(Tokenizer, MergesWhatWasLearntFirst) {
  const Tokenizer t = Tokenizer::parse(document_of({"a b", "b c", "ab c", "a a", "Ġ a"}).dump());
  const auto text = [&](std::string_view s) {
    std::vector<std::string> tokens;
    for (const int id : t.encode(s)) tokens.emplace_back(t.bytes(id));
    return tokens;
  };
  using Texts = std::vector<std::string>;
  EXPECT_EQ(text("abc"), (Texts{"abc"}));
  EXPECT_EQ(text("bcabc"), (Texts{"bc", "abc"}));
  EXPECT_EQ(text("aaa"), (Texts{"aa", "a"}));
  EXPECT_EQ(text("aaab"), (Texts{"aa", "ab"}));
  EXPECT_EQ(text("x aa"), (Texts{"x", " ", "aa"}));  // "a a" was learnt before "Ġ a"
  EXPECT_EQ(text("<eos>"), (Texts{"<", "e", "o", "s", ">"}));
  EXPECT_EQ(t.decode(t.encode("aé <eos>")), "aé <eos>");
  EXPECT_EQ(t.decode(std::vector<int>{1, t.encode("a")[0], 2}), "a");
}

// In the vocabulary or behind it, at its begin or its end: no text makes one, and they say nothing.
TEST(Tokenizer, SpecialTokensAreNoText) {
  json document = json::parse(tiny());
  const int size = Tokenizer::parse(document.dump()).size();
  document["added_tokens"].push_back({{"id", size}, {"content", "<more>"}, {"special", true}});
  const Tokenizer tokenizer = Tokenizer::parse(document.dump());
  EXPECT_EQ(tokenizer.size(), size + 1);
  EXPECT_GE(document["added_tokens"].size(), 9u);
  for (const json& entry : document["added_tokens"]) {
    const int id = entry["id"];
    const std::string content = entry["content"];
    EXPECT_EQ(tokenizer.bytes(id), "") << content;
    EXPECT_EQ(tokenizer.decode(std::vector{id}), "") << content;
    for (const std::string& text : {content, "a " + content + " b", content + content}) {
      const std::vector<int> tokens = tokenizer.encode(text);
      for (const int token : tokens) EXPECT_FALSE(tokenizer.bytes(token).empty()) << text;
      EXPECT_EQ(tokenizer.decode(tokens), text);
    }
  }
}

TEST(SingleSpaces, AreAsInPythonsSplitAndJoin) {
  for (const auto& [text, spaced] : {std::pair{"", ""},
                                     {" \t\r\n", ""},
                                     {"a", "a"},
                                     {"  a \n\n b  ", "a b"},
                                     {"a\xc2\xa0\xe3\x80\x80"
                                      "b\xe2\x80\x89",
                                      "a b"},
                                     {"\xc3\xa4 \xf0\x9f\x90\x95?", "\xc3\xa4 \xf0\x9f\x90\x95?"}}) {
    EXPECT_EQ(single_spaces(text), spaced);
  }
  EXPECT_THROW(single_spaces("a \xff"), Error);
}

TEST(Tokenizer, TakesBothSpellingsOfMerges) {
  json document = document_of({"a b"});
  document["model"]["merges"] = json::array({json::array({"a", "b"})});
  EXPECT_EQ(Tokenizer::parse(document.dump()).encode("ab").size(), 1u);
}

// A word of a million letters must not take the square of that.
TEST(Tokenizer, IsFastOnOneLongWord) {
  const Tokenizer t = Tokenizer::parse(document_of({"a a", "aa aa", "aaaa aaaa"}).dump());
  EXPECT_EQ(t.encode(std::string(800'000, 'a')).size(), 100'000u);
}

// {"text", "ids"} a line, of any other implementation; how many.
int expect_tokens_of(const std::string& golden, const Tokenizer& tokenizer) {
  std::ifstream lines(golden);
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const json entry = json::parse(line);
    const auto text = entry["text"].get<std::string>();
    const auto ids = entry["ids"].get<std::vector<int>>();
    EXPECT_EQ(tokenizer.encode(text), ids) << text;
    EXPECT_EQ(tokenizer.decode(ids), text);
  }
  return count;
}

TEST(Tokenizer, EqualsTheLibraryTokenizers) {
  const std::string folder = BITMAR_SOURCE_DIR "/tests/golden/tokens/";  // tests/golden/tokens.py
  EXPECT_EQ(expect_tokens_of(folder + "golden.jsonl", Tokenizer::parse(read(folder + "tokenizer.json"))), 34);
}

// Characters of every length, of all kinds that the pre-tokenizer and lower case tell apart, and any others.
std::string random_text(std::mt19937& random) {
  const std::u32string some =
      U"  \n\t'aAbzZ09.,!\u00a0\u00c4\u00df\u0130\u0301\u03a3\u0416\u0e01\u2028\u3042\ufb01\U0001f600";
  std::string text;
  for (std::size_t left = random() % 40; left > 0; --left) {
    char32_t c = some[random() % some.size()];
    if (random() % 3 == 0) {
      do c = static_cast<char32_t>(1 + random() % 0x10ffff);
      while (c >= 0xd800 && c < 0xe000);
    }
    append_utf8(text, c);
  }
  return text;
}

// Of any text, once it is in lower case where the tokenizer says so.
void expect_round_trips(const Tokenizer& tokenizer, bool lower, int texts) {
  std::mt19937 random(7);
  for (int i = 0; i < texts; ++i) {
    const std::string text = random_text(random);
    const std::vector<int> tokens = tokenizer.encode(text);
    const std::string wanted = lower ? lower_case(text) : text;
    ASSERT_EQ(tokenizer.decode(tokens), wanted);
    StreamingDecoder stream(tokenizer);
    std::string streamed;
    for (const int token : tokens) streamed += stream.push(token);
    ASSERT_EQ(streamed += stream.finish(), wanted);
  }
}

TEST(Tokenizer, AnyTextComesBack) {
  expect_round_trips(Tokenizer::parse(tiny()), true, 3000);
  expect_round_trips(Tokenizer::parse(read(BITMAR_SOURCE_DIR "/models/default/tokenizer.json")), true, 3000);
  expect_round_trips(Tokenizer::parse(read(BITMAR_SOURCE_DIR "/tests/golden/tokens/tokenizer.json")), false, 3000);
}

// BITMAR_GPT2: a folder with tokenizer.json, made of GPT-2's own files by `python -m bitmar.data.tokenizer --gpt2`, and
// golden.jsonl,
// {"text", "ids"} a line, of any other implementation.
TEST(Tokenizer, IsGpt2s) {
  const char* folder = std::getenv("BITMAR_GPT2");
  if (!folder) GTEST_SKIP() << "BITMAR_GPT2 is not set";
  const Tokenizer tokenizer = Tokenizer::parse(read(std::string(folder) + "/tokenizer.json"));
  EXPECT_EQ(tokenizer.size(), 50257);
  EXPECT_GT(expect_tokens_of(std::string(folder) + "/golden.jsonl", tokenizer), 20);
  expect_round_trips(tokenizer, false, 20'000);
}

TEST(Tokenizer, RefusesWhatIsNotUtf8) {
  for (const std::string& name : {std::string("tiny"), std::string("plain")}) {
    const Tokenizer t = Tokenizer::parse(name == "tiny" ? tiny() : document_of({}).dump());
    for (const char* text :
         {"\x80", "a\xff", "\xc3", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf0\x9f\x91"}) {
      try {
        t.encode(text);
        ADD_FAILURE() << "accepted";
      } catch (const Error& error) {
        EXPECT_EQ(to_string(error.code()), "invalid_text");
      }
    }
    EXPECT_NO_THROW(t.encode(std::string_view("\0\x7f", 2)));
  }
}

TEST(Tokenizer, DecodesOnlyTokensThatExist) {
  const Tokenizer t = Tokenizer::parse(tiny());
  EXPECT_THROW(t.decode(std::vector<int>{-1}), Error);
  EXPECT_THROW(t.decode(std::vector<int>{t.size()}), Error);
}

TEST(Tokenizer, RefusesWhatItDoesNotDo) {
  const json good = document_of({"a b"});
  EXPECT_NO_THROW(Tokenizer::parse(good.dump()));
  struct Case {
    const char* pointer;
    json value;
    const char* words;
  };
  const Case cases[] = {
      {"/normalizer", {{"type", "NFC"}}, "normalizer"},
      {"/pre_tokenizer", nullptr, "pre_tokenizer"},
      {"/pre_tokenizer/add_prefix_space", true, "pre_tokenizer"},
      {"/pre_tokenizer/use_regex", false, "pre_tokenizer"},
      {"/post_processor", {{"type", "TemplateProcessing"}}, "post_processor"},
      {"/decoder", "ByteLevel", "decoder"},
      {"/model", 7, "BPE"},
      {"/model/type", "Unigram", "BPE"},
      {"/model/dropout", 0.1, "dropout"},
      {"/model/byte_fallback", true, "byte_fallback"},
      {"/model/vocab", json::array(), "model.vocab"},
      {"/model/vocab/a", 100000, "gaps"},
      {"/model/vocab/a", 5, "gaps"},
      {"/model/vocab/a", -1, "gaps"},
      {"/model/vocab/a", "1", "gaps"},
      {"/model/vocab/zz", 259, "gaps"},
      {"/model/merges", "a b", "merges"},
      {"/model/merges/0", "ab", "no pair"},
      {"/model/merges/0", json::array({"a"}), "no pair"},
      {"/model/merges/0", "b a", "has no token"},
      {"/model/merges/1", "a b", "twice"},
      {"/added_tokens", 1, "added_tokens"},
      {"/added_tokens/0", 1, "no content"},
      {"/added_tokens/0/id", 1, "two ids"},
      {"/added_tokens/0/id", 1e9, "gaps"},
      {"/added_tokens/0/content", "a", "two ids"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.pointer);
    json changed = good;
    changed[json::json_pointer(c.pointer)] = c.value;
    expect_error(changed, c.words);
  }
  json changed = good;
  changed["model"]["vocab"]["日"] = 260;
  expect_error(changed, "byte-level");
  changed = good;
  changed["model"]["vocab"].erase("ab");
  changed["model"]["vocab"]["q"] = 259;
  changed["model"]["merges"] = json::array();
  expect_error(changed, "gaps");
  expect_error(json::array(), "an object");
  EXPECT_THROW(Tokenizer::parse(""), Error);
}

// null and absent are the same.
TEST(Tokenizer, KnowsWhichFieldsItNeeds) {
  const json good = document_of({"a b"});
  for (const char* key : {"pre_tokenizer", "decoder", "model"}) {
    json changed = good;
    changed.erase(key);
    expect_error(changed, key);
  }
  for (const char* key : {"type", "vocab", "merges"}) {
    json changed = good;
    changed["model"].erase(key);
    expect_error(changed, "model");
  }
  for (const char* key : {"added_tokens", "normalizer", "post_processor"}) {
    SCOPED_TRACE(key);
    json changed = good;
    changed.erase(key);
    EXPECT_EQ(Tokenizer::parse(changed.dump()).encode("AB ab").size(), 4u);
  }
}

TEST(Tokenizer, SurvivesDamage) {
  const std::string whole = tiny();
  std::mt19937 random(1);
  for (int round = 0; round < 150; ++round) {
    std::string text = whole;
    for (auto n = 1 + random() % 3; n; --n) {
      text[random() % text.size()] = random() % 2 ? static_cast<char>(random()) : "0123456789[]{}\",: "[random() % 18];
    }
    try {
      const Tokenizer t = Tokenizer::parse(text);
      t.decode(t.encode("A dog's 12 toys."));
    } catch (const Error&) {
    }
  }
}

TEST(StreamingDecoder, NeverSplitsACharacter) {
  const Tokenizer t = Tokenizer::parse(document_of({}).dump());  // a token for each byte
  StreamingDecoder decoder(t);
  std::vector<std::string> pieces;
  for (const int id : t.encode("aé日😀")) pieces.emplace_back(decoder.push(id));
  EXPECT_EQ(pieces, (std::vector<std::string>{"a", "", "é", "", "", "日", "", "", "", "😀"}));
  EXPECT_EQ(decoder.finish(), "");
}

// As Python's bytes.decode("utf-8", "replace").
TEST(StreamingDecoder, ReplacesWhatIsNoCharacter) {
  const Tokenizer t = Tokenizer::parse(document_of({}).dump());
  std::vector<int> token_of(256);
  for (int id = 3; id < t.size(); ++id) token_of[static_cast<unsigned char>(t.bytes(id)[0])] = id;
  const auto decode = [&](std::string_view bytes) {
    std::vector<int> ids;
    for (const char b : bytes) ids.push_back(token_of[static_cast<unsigned char>(b)]);
    return t.decode(ids);
  };
  EXPECT_EQ(decode("a\xff"
                   "b"),
            "a\uFFFDb");
  EXPECT_EQ(decode("\xe2\x82"), "\uFFFD");
  EXPECT_EQ(decode("\xe2\x82z"), "\uFFFDz");
  EXPECT_EQ(decode("\xf0\x80\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(decode("\xed\xa0\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(decode("\xf0\x9f\x91\xf0\x9f\x91\x8b"), "\uFFFD👋");
  StreamingDecoder decoder(t);
  decoder.push(token_of[0xe2]);
  decoder.reset();
  EXPECT_EQ(decoder.finish(), "");
}

}  // namespace
}  // namespace bitmar
