// tokenizer.json, and a text behind a zero byte: what was accepted must encode every text, and give it back.
#include "io/tokenizer.h"

#include <algorithm>

#include "fuzz.h"

void bitmar::fuzz(Input input) {
  const std::string_view text = text_of(input);
  const std::size_t end = std::min(text.find('\0'), text.size());
  const Tokenizer tokenizer = Tokenizer::parse(text.substr(0, end));
  const std::string_view sentence = text.substr(std::min(end + 1, text.size())).substr(0, 1000);
  for (const std::string_view each : {std::string_view("A dog's 2 cats"), sentence}) {
    const std::vector<int> tokens = tokenizer.encode(each);
    std::string bytes;
    for (const int token : tokens) bytes += tokenizer.bytes(token);
    require(tokenizer.decode(tokens) == bytes);  // of UTF-8 it is UTF-8
    require(tokens.size() <= 3 * each.size());   // a byte each, and lower case may have more
  }
}
