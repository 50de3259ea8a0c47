// The contexts that were made last, so that the same picture and prompt are not fused twice, nor the same prompt
// encoded.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "runtime/arena.h"

namespace bitmar {

// What the model makes of a prompt, with a picture or without one. A view: valid until kContexts others were made, a
// later use throws invalid_argument.
struct Context {
  std::uint64_t id;                     // counts the contexts
  std::uint64_t picture;                // its id, 0 without one
  std::span<const float> fused;         // F [n, d]
  std::span<const float> query, value;  // [C], unit length: what the memory is searched by, and what it stores
};

// How many are kept. Remembering needs two at once: the picture's own, and the picture's with its caption.
inline constexpr int kContexts = 3;

class ContextCache {
 public:
  struct Entry {
    std::uint64_t id = 0, picture = 0;  // id 0: there is nothing in it
    std::span<const int> prompt() const { return tokens.first(static_cast<std::size_t>(size)); }
    Context context() const;

    int size = 0, width = 0;
    std::span<int> tokens;           // [most]
    std::span<float> states, fused;  // [most, d]: the text encoder's output, and F
    std::span<float> query, value;   // [C]
  };

  ContextCache(int most_tokens, int width, int memory_width, Arena& arena);

  // The entry of this picture and prompt, if there is one.
  const Entry* find(std::uint64_t picture, std::span<const int> tokens);
  // Room for a new one, in place of the one that was used least recently; its prompt is set, and its text states are
  // where another entry has them (`encoded`). It counts from finish() on.
  struct Room {
    Entry& entry;
    bool encoded;
  };
  Room make(std::uint64_t picture, std::span<const int> tokens);
  const Entry& finish(Entry& entry);
  // Throws invalid_argument where the context is no longer here.
  void check(const Context& context) const;
  void forget();

 private:
  std::array<Entry, kContexts> entries_;
  std::array<std::uint64_t, kContexts> used_{};  // when
  std::uint64_t now_ = 0, made_ = 0;
};

}  // namespace bitmar
