// The keys of the memory's slots, and an exact search among them.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/kernels.h"
#include "runtime/arena.h"

namespace bitmar {

struct Match {
  int slot = -1;
  float similarity = 0;  // dot product of the query and the slot's key
};

// The more similar one; the lower slot among equals. Also the order of a heap whose front is the worst.
bool better(const Match& a, const Match& b);

// K slots, each free or holding a key [C] of at most kLongest. Bounds from int8 copies of the keys rule out nearly
// every slot of a search, the rest is computed exactly: the result is that of computing every similarity.
class Index {
 public:
  static constexpr float kLongest = 1.001f;  // a unit vector, and its rounding

  Index(int slots, int width, const Kernels& kernels, Arena& arena);

  std::span<const float> key(int slot) const { return keys_.subspan(at(slot), width_); }
  bool holds(int slot) const { return scales_[slot] != 0; }
  int end() const { return end_; }  // every slot that holds a key is below it

  void put(int slot, std::span<const float> key);
  void erase(int slot);  // its numbers as well
  void clear();          // erases all

  float similarity(std::span<const float> query, int slot) const;
  // The most similar slots of at least `least`, best first; returns how many of `out` were filled.
  int nearest(std::span<const float> query, std::span<Match> out, float least);
  // All slots of at least `least`, in their order. `out` [K].
  int within(std::span<const float> query, float least, std::span<Match> out);

 private:
  std::size_t at(int slot) const { return static_cast<std::size_t>(slot) * width_; }
  float quantise(std::span<const float> v, std::int8_t* codes, float& rest);
  float scan(std::span<const float> query, std::span<Match> best, float least);

  int width_;
  const Kernels& kernels_;
  std::span<float> keys_;  // [K, C]
  // What a search looks at first: key i is about scales_[i] * codes_[i], the difference of length rests_[i] at most.
  std::span<std::int8_t> codes_;     // [K, C]
  std::span<float> scales_, rests_;  // [K]; a scale of 0: the slot is free
  std::span<float> bounds_;          // [K], of one search
  std::span<float> difference_;      // [C], of one quantisation
  std::span<std::int8_t> query_;     // [C], of one search
  int end_ = 0;
};

}  // namespace bitmar
