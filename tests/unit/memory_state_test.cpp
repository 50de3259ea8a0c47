// The memory as bytes: what comes back, and what does not come back of bytes that are damaged.
#include <gtest/gtest.h>

#include <cmath>
#include <ctime>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "count_allocations.h"
#include "io/crc32.h"
#include "io/error.h"
#include "io/model_files.h"
#include "memory/episodic_memory.h"
#include "memory/state.h"
#include "runtime/random.h"

namespace bitmar {
namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr int kWidth = 4;

struct TestMemory {
  explicit TestMemory(int slots, int width = kWidth, const Kernels& with = kernels()) {
    const EpisodicMemory::Settings settings{.slots = slots, .width = width};
    EpisodicMemory(settings, with, arena);
    arena.commit();
    memory.emplace(settings, with, arena);
  }
  EpisodicMemory* operator->() { return &*memory; }

  EpisodicMemory::LoadReport load(const Bytes& snapshot, const std::vector<Bytes>& frames = {}) {
    return memory->load(snapshot, std::vector<ByteSpan>(frames.begin(), frames.end()));
  }
  EpisodicMemory::LoadReport follow(const std::vector<Bytes>& frames) {
    return memory->load(std::nullopt, std::vector<ByteSpan>(frames.begin(), frames.end()));
  }

  Arena arena;
  std::optional<EpisodicMemory> memory;
};

std::vector<float> noise(Random& random, int width = kWidth) {
  std::vector<float> v(width);
  float length = 0;
  for (float& x : v) x = static_cast<float>(random.uniform()) - 0.5f;
  for (const float x : v) length += x * x;
  for (float& x : v) x /= std::sqrt(length);
  return v;
}

ErrorCode load_error(TestMemory& memory, const Bytes& snapshot) {
  try {
    memory.load(snapshot);
  } catch (const Error& error) {
    return error.code();
  }
  return ErrorCode::aborted;
}

Bytes fixture(const std::string& name) {
  return read_file(std::string(BITMAR_SOURCE_DIR) + "/tests/unit/fixtures/" + name, 1 << 20);
}

// Any change at all, picked by the numbers of `random`.
void change(EpisodicMemory& memory, Random& random, double now) {
  const std::uint32_t what = random.next() % 16;
  const int slot = static_cast<int>(random.next() % static_cast<std::uint32_t>(memory.capacity()));
  const auto v = noise(random, memory.settings().width);
  if (what < 8) {
    memory.write(v, v, now);
  } else if (what < 10) {
    memory.teach(v, v, what == 8 ? "a mug" : "a dog", now);
  } else if (memory.occupied(slot)) {
    if (what < 12) memory.touch(slot, now);
    if (what == 12) memory.set_label(slot, "named");
    if (what == 13 || what == 14) memory.forget(slot);
  } else if (what == 15 && slot == 0) {
    memory.forget_all();
  }
}

// ---- What was saved comes back ----

#ifndef __EMSCRIPTEN__
// Each allocation in turn: whichever fails, the memory is as it was.
TEST(MemoryState, ALoadWithoutMemoryChangesNothing) {
  Random random(3);
  TestMemory full(40);
  for (int i = 0; i < 40; ++i) {
    const auto v = noise(random);
    full->write(v, v, i);
  }
  const Bytes snapshot = full->snapshot();
  const auto v = noise(random);
  const std::uint64_t before = full->sequence();
  full->teach(v, v, "one more", 50);
  const Bytes frame = full->changes_since(before);
  for (const bool follows : {false, true}) {
    int failures = 0;
    for (std::size_t which = 1;; ++which) {
      TestMemory memory(40);
      if (follows) memory.load(snapshot);
      if (!follows) memory->teach(v, v, "mine", 1);
      const Bytes own = memory->snapshot();
      const std::vector<ByteSpan> frames = {ByteSpan(frame)};
      bool failed = false;
      fail_allocation(which);
      try {
        follows ? memory->load(std::nullopt, frames) : memory->load(ByteSpan(snapshot), {});
      } catch (const std::bad_alloc&) {
        failed = true;
      }
      fail_allocation(0);
      if (!failed) break;
      ++failures;
      ASSERT_EQ(memory->snapshot(), own) << "allocation " << which;
    }
    EXPECT_GT(failures, 2);
  }
}
#endif

TEST(MemoryStateTest, ChecksumsAreThoseOfZlib) {
  const std::string_view text = "123456789";
  const Bytes bytes(text.begin(), text.end());
  EXPECT_EQ(crc32(bytes), 0xCBF43926u);
  EXPECT_EQ(crc32(ByteSpan(bytes).subspan(4), crc32(ByteSpan(bytes).first(4))), 0xCBF43926u);
  EXPECT_EQ(crc32({}), 0u);
}

TEST(MemoryStateTest, SnapshotsBringEverythingBack) {
  Random random(1);
  TestMemory memory(20);
  for (int i = 0; i < 300; ++i) change(*memory.memory, random, 1000.0 * i);
  ASSERT_GT(memory->size(), 5);
  const Bytes saved = memory->snapshot();
  TestMemory other(20);
  const auto report = other.load(saved);
  EXPECT_EQ(report.loaded, memory->size());
  EXPECT_EQ(report.dropped_slots + report.dropped_frames + report.left_out, 0);
  EXPECT_EQ(report.sequence, memory->sequence());
  EXPECT_EQ(other->snapshot(), saved);
  // And it goes on in the same way.
  Random again(2), and_again(2);
  change(*memory.memory, again, 1e6);
  change(*other.memory, and_again, 1e6);
  EXPECT_EQ(other->snapshot(), memory->snapshot());
}

TEST(MemoryStateTest, FramesBringEveryChange) {
  Random random(3);
  TestMemory memory(12), follower(12);
  Bytes snapshot = memory->snapshot();
  std::vector<Bytes> frames;
  for (int i = 0; i < 400; ++i) {
    const std::uint64_t before = memory->sequence();
    for (std::uint32_t n = random.next() % 4; n > 0; --n) change(*memory.memory, random, 1000.0 * i);
    const Bytes frame = memory->changes_since(before);
    EXPECT_EQ(frame.empty(), memory->sequence() == before);
    if (frame.empty()) continue;
    frames.push_back(frame);
    EXPECT_EQ(follower.follow({frame}).sequence, memory->sequence());
    EXPECT_EQ(follower->snapshot(), memory->snapshot());
    if (i == 150) {
      snapshot = memory->snapshot();  // compaction; the frames that it holds already do no harm
      frames.erase(frames.begin(), frames.end() - 3);
    }
    TestMemory loaded(12);
    const auto report = loaded.load(snapshot, frames);
    EXPECT_EQ(report.dropped_frames, 0);
    ASSERT_EQ(loaded->snapshot(), memory->snapshot()) << i;
    EXPECT_TRUE(loaded->changes_since(memory->sequence()).empty());
  }
  EXPECT_THROW(memory->changes_since(memory->sequence() + 1), Error);
}

TEST(MemoryStateTest, TheSameCallsMakeTheSameBytesWithEveryKernel) {
  for (const auto policy : {EpisodicMemory::Policy::gated, EpisodicMemory::Policy::additive}) {
    Bytes first;
    for (const Kernels* table : available_kernels()) {
      Random random(11);
      TestMemory memory(50, 36, *table);
      memory->set_policy(policy);
      for (int i = 0; i < 500; ++i) change(*memory.memory, random, 1000.0 * i);
      if (first.empty()) first = memory->snapshot();
      EXPECT_EQ(memory->snapshot(), first) << table->name;
    }
  }
}

TEST(MemoryStateTest, AFrameIsAsLargeAsWhatChanged) {
  Random random(4);
  TestMemory memory(1000, 128);
  for (int i = 0; i < 1000; ++i) memory->write(noise(random, 128), noise(random, 128), i);
  const std::uint64_t before = memory->sequence();
  memory->touch(17, 2000);
  memory->touch(17, 2001);
  const std::size_t one = memory->changes_since(before).size();
  EXPECT_LT(one, 1300u);
  memory->touch(18, 2002);
  memory->forget(19);
  EXPECT_LT(memory->changes_since(before).size(), 2 * one);
  EXPECT_GT(memory->snapshot().size(), 900 * 1024u);
  memory->forget_all();
  EXPECT_LT(memory->changes_since(before).size(), 100u);
}

// Version 1 must load for ever. The files were made from the format's description by a program of their own.
TEST(MemoryStateTest, Version1Loads) {
  TestMemory memory(5);
  const Bytes snapshot = fixture("memory_v1_snapshot.bin"), frame = fixture("memory_v1_frame.bin");
  EXPECT_EQ(memory.load(snapshot).loaded, 3);
  EXPECT_EQ(memory->snapshot(), snapshot);
  EXPECT_EQ(memory->slot(1).label(),
            "my r\xc3\xa9"
            "d mug");
  EXPECT_EQ(memory->slot(0).last_used_ms, 5000.5);
  EXPECT_EQ(memory->slot(0).uses, 3u);
  EXPECT_EQ(memory->slot(0).strength, 2);
  EXPECT_EQ(memory->key(3)[2], 0.6f);
  EXPECT_EQ(memory->value(3)[3], 1);

  EXPECT_EQ(memory.load(snapshot, {frame}).loaded, 3);
  EXPECT_EQ(memory->sequence(), 14u);
  EXPECT_EQ(memory->find(2), -1);
  EXPECT_EQ(memory->slot(4).label(), "a bicycle");
  EXPECT_EQ(memory->write(memory->key(0), memory->key(0), 0).id, 1u);
  memory->forget_all();
  EXPECT_EQ(memory->write(noise(*std::make_unique<Random>(1)), std::vector<float>(4), 0).id, 9u);
}

// ---- Another number of slots, another memory ----

TEST(MemoryStateTest, ASmallerMemoryKeepsTheStrongest) {
  Random random(5);
  TestMemory memory(40);
  for (int i = 0; i < 40; ++i)
    memory->restore(i, {.id = i + 1u, .strength = static_cast<float>(i % 7)}, noise(random), noise(random));
  memory->set_label(0, "mug");  // of strength 0
  TestMemory small(6);
  const auto report = small.load(memory->snapshot());
  EXPECT_EQ(report.loaded, 6);
  EXPECT_EQ(report.left_out, 34);
  EXPECT_EQ(report.dropped_slots, 0);
  EXPECT_EQ(small->slot(0).label(), "mug");
  for (int i = 1; i < 6; ++i) EXPECT_EQ(small->slot(i).strength, 6);
  // What was saved is no longer what is there: the next frame says so.
  const auto frame = small->changes_since(memory->sequence());
  TestMemory third(40);
  third.load(memory->snapshot(), {frame});
  EXPECT_EQ(third->snapshot().size(), small->snapshot().size());
  EXPECT_EQ(third->size(), 6);
  EXPECT_GT(small->write(noise(random), noise(random), 1).id, 40u);

  TestMemory large(100);
  EXPECT_EQ(large.load(memory->snapshot()).loaded, 40);
  EXPECT_EQ(large->sequence(), memory->sequence());
  large->write(noise(random), noise(random), 5);
  TestMemory back(100);
  EXPECT_EQ(back.load(memory->snapshot(), {large->changes_since(memory->sequence())}).dropped_frames, 0);
  EXPECT_EQ(back->snapshot(), large->snapshot());
}

TEST(MemoryStateTest, AdoptingIsAChangeLikeAnother) {
  Random random(6);
  TestMemory memory(8), other(8), follower(8);
  for (int i = 0; i < 20; ++i) memory->write(noise(random), noise(random), i);
  other->write(noise(random), noise(random), 1);
  follower.load(memory->snapshot());
  const std::uint64_t before = memory->sequence(), last_id = memory->find(20) >= 0 ? 20 : memory->slot(0).id;
  EXPECT_EQ(memory->adopt(other->snapshot()).loaded, 1);
  EXPECT_EQ(memory->size(), 1);
  EXPECT_EQ(memory->sequence(), before + 1);
  follower.follow({memory->changes_since(before)});
  EXPECT_EQ(follower->snapshot(), memory->snapshot());
  EXPECT_GT(memory->write(noise(random), noise(random), 9).id, last_id);
}

// ---- Damage ----

TEST(MemoryStateTest, OtherVersionsAndModelsAreRefused) {
  TestMemory memory(5), wide(5, 8);
  memory->write(std::vector<float>{1, 0, 0, 0}, std::vector<float>{1, 0, 0, 0}, 1);
  const Bytes saved = memory->snapshot();
  Bytes newer = saved;
  newer[4] = 2;
  for (int i = 0; i < 4; ++i) newer[12 + i] = static_cast<std::uint8_t>(crc32(ByteSpan(newer).first(12)) >> 8 * i);
  EXPECT_EQ(load_error(memory, newer), ErrorCode::unsupported_state);
  EXPECT_THROW(memory.load(saved, {newer}), Error);  // dropping it would write over it
  EXPECT_EQ(load_error(wide, saved), ErrorCode::invalid_state);
  EXPECT_EQ(load_error(memory, {}), ErrorCode::invalid_state);
  EXPECT_EQ(load_error(memory, Bytes(1000, 'x')), ErrorCode::invalid_state);
  EXPECT_EQ(memory->snapshot(), saved);  // untouched by all that
}

TEST(MemoryStateTest, DamageDropsASlotOrIsAnError) {
  Random random(7);
  TestMemory memory(6);
  for (int i = 0; i < 4; ++i) memory->teach(noise(random), noise(random), "mug " + std::to_string(i), i);
  const Bytes saved = memory->snapshot();
  const std::size_t record = (saved.size() - 60) / 4;
  for (std::size_t i = 0; i < saved.size(); ++i) {
    for (const int flip : {0x01, 0x80, 0xff}) {
      Bytes damaged = saved;
      damaged[i] = static_cast<std::uint8_t>(damaged[i] ^ flip);
      TestMemory other(6);
      if (i < 60) {
        EXPECT_EQ(load_error(other, damaged), ErrorCode::invalid_state) << i;
        continue;
      }
      const auto report = other.load(damaged);
      EXPECT_EQ(report.loaded, 3);
      EXPECT_EQ(report.dropped_slots, 1);
      EXPECT_EQ(other->find((i - 60) / record + 1), -1);
    }
  }
  for (std::size_t size = 0; size < saved.size(); ++size) {
    const Bytes cut(saved.begin(), saved.begin() + static_cast<std::ptrdiff_t>(size));
    TestMemory other(6);
    if (size < 60) {
      EXPECT_EQ(load_error(other, cut), ErrorCode::invalid_state) << size;
      continue;
    }
    const auto report = other.load(cut);
    EXPECT_EQ(report.loaded, static_cast<int>((size - 60) / record));
    EXPECT_EQ(report.loaded + report.dropped_slots, 4);
  }
}

TEST(MemoryStateTest, ADamagedFrameCostsItselfAlone) {
  Random random(8);
  TestMemory memory(6);
  const Bytes snapshot = memory->snapshot();
  std::vector<Bytes> frames;
  for (int i = 0; i < 5; ++i) {
    const std::uint64_t before = memory->sequence();
    memory->write(noise(random), noise(random), i);
    if (i == 3) memory->forget(0);
    frames.push_back(memory->changes_since(before));
  }
  const auto check = [&](std::size_t frame, const Bytes& damaged) {
    std::vector<Bytes> list = frames;
    list[frame] = damaged;
    TestMemory other(6);
    const auto report = other.load(snapshot, list);
    EXPECT_EQ(report.dropped_frames, 1);
    EXPECT_EQ(report.gaps, frame + 1 < list.size() ? 1 : 0);
    // The episode of that frame is missing, and the first one, which was forgotten and whose slot was taken again.
    for (std::uint64_t id = 1; id <= frames.size(); ++id) {
      EXPECT_EQ(other->find(id) >= 0, id != frame + 1 && id > 1) << id;
    }
    TestMemory third(6);
    EXPECT_EQ(third.load(other->snapshot()).loaded, report.loaded);
    EXPECT_EQ(third->snapshot(), other->snapshot());
    // Who follows is told instead, and loads everything again.
    TestMemory follower(6);
    follower.load(snapshot);
    follower->write(std::vector<float>{1, 0, 0, 0}, std::vector<float>{1, 0, 0, 0}, 9);
    list.erase(list.begin(), list.begin() + static_cast<std::ptrdiff_t>(frame) + 1);
    EXPECT_EQ(follower.follow(list).dropped_frames, static_cast<int>(list.size()));
  };
  for (const std::size_t frame : {std::size_t{1}, std::size_t{3}, std::size_t{4}}) {
    for (std::size_t i = 0; i < frames[frame].size(); ++i) {
      Bytes damaged = frames[frame];
      damaged[i] ^= 0x10;
      check(frame, damaged);
      check(frame, Bytes(frames[frame].begin(), frames[frame].begin() + static_cast<std::ptrdiff_t>(i)));
    }
  }
}

// Without its snapshot a journal still holds what it holds.
TEST(MemoryStateTest, FramesAloneBringWhatTheyHold) {
  Random random(12);
  TestMemory memory(8), other(8);
  memory->write(noise(random), noise(random), 1);
  const std::uint64_t saved = memory->sequence();
  memory->write(noise(random), noise(random), 2);
  const auto report = other.follow({memory->changes_since(saved)});
  EXPECT_EQ(report.loaded, 1);
  EXPECT_EQ(report.gaps, 1);
  EXPECT_EQ(other->slot(1).id, 2u);
  EXPECT_EQ(other->sequence(), memory->sequence());
}

// ---- What comes from outside, and the edges of what can be counted ----

// One snapshot whose header and episode are as given, whatever that is.
Bytes made(const MemoryStateHeader& header, const std::vector<Episode>& episodes, int width = kWidth) {
  MemoryStateWriter writer(header, static_cast<int>(episodes.size()));
  std::vector<float> v(width);
  for (std::size_t i = 0; i < episodes.size(); ++i) {
    v.assign(width, 0);
    v[i % width] = 1;
    writer.add(static_cast<int>(i), episodes[i], v, v);
  }
  return writer.take();
}

// Sixty bytes each, and each clears 65,536 slots: what a journal costs goes with its bytes.
TEST(MemoryStateTest, FramesThatClearCostLittle) {
  constexpr int kFrames = 5000;
  const Episode episode{.id = 1, .created_ms = 5, .last_used_ms = 6, .strength = 1};
  std::vector<Bytes> frames;
  for (std::uint64_t i = 0; i <= kFrames; ++i) {
    const bool holds = i == 0 || i == kFrames;
    frames.push_back(
        made({.width = kWidth, .slots = 1 << 16, .base = i, .sequence = i + 1, .next_id = 9, .cleared = true},
             holds ? std::vector<Episode>{episode} : std::vector<Episode>{}));
  }
  TestMemory memory(1 << 16);
  const std::clock_t before = std::clock();
  const auto report = memory.follow(frames);
  EXPECT_EQ(report.loaded, 1);
  EXPECT_EQ(report.dropped_frames + report.dropped_slots + report.gaps, 0);
  for (Bytes& frame : frames) {  // again, on top of what is there
    frame = made({.width = kWidth,
                  .slots = 1 << 16,
                  .base = memory->sequence(),
                  .sequence = memory->sequence() + 1,
                  .next_id = 9,
                  .cleared = true},
                 {});
    memory.follow({frame});
  }
  EXPECT_EQ(memory->size(), 0);
  EXPECT_LT(static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC, 3);
}

TEST(MemoryStateTest, AnImportIsTakenWholeOrNotAtAll) {
  constexpr std::uint64_t kEnd = Episode::kMaxId;
  const Episode good{.id = 1, .created_ms = 5, .last_used_ms = 6, .strength = 1};
  const auto episode = [&](auto change) {
    Episode e = good;
    change(e);
    return e;
  };
  const MemoryStateHeader fine{.width = 4, .slots = 5, .sequence = 3, .next_id = 9, .cleared = true};
  const auto header = [&](auto change) {
    MemoryStateHeader h = fine;
    change(h);
    return h;
  };
  Bytes longer = made(fine, {good}), shorter = longer, flipped = longer;
  longer.push_back(0);
  shorter.pop_back();
  flipped[flipped.size() - 10] ^= 1;
  const std::vector<Bytes> bad = {
      longer,
      shorter,
      flipped,
      made(fine, {good, episode([](Episode& e) { e.id = 1; })}),
      made(fine, {episode([](Episode& e) { e.id = 9; })}),  // an id that was never given
      made(fine, {episode([](Episode& e) { e.created_ms = 1e300; })}),
      made(fine, {episode([](Episode& e) { e.last_used_ms = -Episode::kMaxTime - 2; })}),
      made(fine, {episode([](Episode& e) { e.last_used_ms = NAN; })}),
      made(fine, {episode([](Episode& e) { e.strength = -1; })}),
      made(header([](MemoryStateHeader& h) { h.sequence = kEnd; }), {good}),
      made(header([](MemoryStateHeader& h) { h.sequence = kEnd / 2 + 1; }), {good}),
      made(header([](MemoryStateHeader& h) { h.next_id = kEnd; }), {good}),
      made(header([](MemoryStateHeader& h) { h.next_id = kEnd; }), {episode([](Episode& e) { e.id = kEnd - 1; })}),
      made(header([](MemoryStateHeader& h) { h.cleared = false; }), {good}),
      made(header([](MemoryStateHeader& h) { h.freed = {4}; }), {good}),
  };
  Random random(13);
  TestMemory memory(5);
  for (int i = 0; i < 3; ++i) memory->write(noise(random), noise(random), i);
  const Bytes before = memory->snapshot();
  for (std::size_t i = 0; i < bad.size(); ++i) {
    EXPECT_THROW(memory->adopt(bad[i]), Error) << i;
    EXPECT_THROW(memory->read_import(bad[i]), Error) << i;
    EXPECT_EQ(memory->snapshot(), before) << i;
  }
  EXPECT_EQ(memory->adopt(made(header([](MemoryStateHeader& h) { h.sequence = h.next_id = kEnd / 2; }), {good})).loaded,
            1);
  EXPECT_EQ(memory->write(noise(random), noise(random), 9).id, kEnd / 2);
}

// Import, change, save, load: whatever the header and the episodes say, what was let in can be saved and read again.
TEST(MemoryStateTest, WhateverWasLetInCanBeSavedAndLoadedAgain) {
  constexpr std::uint64_t kEnd = Episode::kMaxId;
  const std::uint64_t counts[] = {0,        1,        2,    9,        kEnd / 2 - 1,    kEnd / 2, kEnd / 2 + 1,
                                  kEnd - 9, kEnd - 1, kEnd, kEnd + 1, ~std::uint64_t{}};
  const double times[] = {0,       -0.0,  1,      -1,  1.8e12,  Episode::kMaxTime, -Episode::kMaxTime,
                          8.65e15, 1e300, -1e300, NAN, INFINITY};
  const float strengths[] = {0, 1, 1e9f, 3.4e38f, -1, NAN, INFINITY};
  const std::uint32_t uses[] = {0, 1, ~std::uint32_t{}};
  Random random(14);
  const auto any = [&](const auto& list) { return list[random.next() % std::size(list)]; };
  int let_in = 0, refused = 0, spent = 0;
  for (int round = 0; round < 1500; ++round) {
    const bool plain = random.next() % 3 == 0;  // as a memory would say it, but for one thing
    const MemoryStateHeader header{.width = kWidth,
                                   .slots = 6,
                                   .sequence = plain ? 7 : any(counts),
                                   .next_id = plain ? 50 : any(counts),
                                   .cleared = true};
    std::vector<Episode> episodes;
    for (std::uint32_t n = random.next() % 4; n > 0; --n) {
      episodes.push_back({.id = plain ? n : any(counts),
                          .created_ms = any(times),
                          .last_used_ms = any(times),
                          .uses = any(uses),
                          .strength = any(strengths)});
      if (plain) episodes.back() = {.id = n, .last_used_ms = any(times), .uses = any(uses), .strength = 1};
    }
    TestMemory memory(6);
    const bool import = random.next() % 2 == 0;
    const Bytes before = memory->snapshot();
    const Bytes bytes = made(header, episodes);
    try {
      if (import) {
        EXPECT_EQ(memory->adopt(bytes).loaded, static_cast<int>(episodes.size()));
      } else {
        memory.load(bytes);
      }
      ++let_in;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_state);
      EXPECT_EQ(memory->snapshot(), before);
      ++refused;
      continue;
    }
    for (int i = 0; i < 12; ++i) {
      const std::uint64_t since = memory->sequence();
      const Bytes last = memory->snapshot();
      try {
        change(*memory.memory, random, any(times));
      } catch (const Error&) {
        EXPECT_EQ(memory->snapshot(), last);
        ++spent;
      }
      TestMemory again(6), framed(6);
      const auto report = again.load(memory->snapshot());
      ASSERT_EQ(report.loaded, memory->size());
      ASSERT_EQ(again->snapshot(), memory->snapshot());
      const Bytes frame = memory->changes_since(since);
      if (frame.empty()) continue;
      ASSERT_EQ(framed.load(last, {frame}).dropped_frames, 0);
      ASSERT_EQ(framed->snapshot(), memory->snapshot());
    }
  }
  EXPECT_GT(let_in, 200);
  EXPECT_GT(refused, 200);
  EXPECT_GT(spent, 200);
}

// Earlier versions took any finite time.
TEST(MemoryStateTest, TimesBeyondTheCalendarAreBroughtIntoIt) {
  TestMemory memory(5);
  const MemoryStateHeader header{.width = 4, .slots = 5, .sequence = 3, .next_id = 9, .cleared = true};
  const Episode episode{.id = 1, .created_ms = 1e300, .last_used_ms = -1e300, .strength = 1};
  const auto report = memory.load(made(header, {episode}));
  EXPECT_EQ(report.loaded, 1);
  EXPECT_EQ(memory->slot(0).created_ms, Episode::kMaxTime);
  EXPECT_EQ(memory->slot(0).last_used_ms, -Episode::kMaxTime);
}

TEST(MemoryStateTest, AMemoryOfAnyWidthIsMergedIntoOneSnapshot) {
  Random random(15);
  TestMemory memory(9, 12);
  for (int i = 0; i < 5; ++i) memory->teach(noise(random, 12), noise(random, 12), "mug " + std::to_string(i), i);
  const Bytes snapshot = memory->snapshot();
  const std::uint64_t saved = memory->sequence();
  memory->forget(1);
  memory->write(noise(random, 12), noise(random, 12), 9);
  const std::vector<Bytes> frames{memory->changes_since(saved)};
  const auto merged = EpisodicMemory::merged(snapshot, std::vector<ByteSpan>(frames.begin(), frames.end()), kernels());
  TestMemory again(9, 12);
  EXPECT_EQ(again.load(merged).loaded, memory->size());
  for (int i = 0; i < 9; ++i) {
    EXPECT_EQ(memory->occupied(i), again->find(memory->slot(i).id) >= 0);
  }
  EXPECT_THROW(EpisodicMemory::merged(std::nullopt, {}, kernels()), Error);
  EXPECT_THROW(EpisodicMemory::merged(Bytes(100, 'x'), {}, kernels()), Error);
}

// Bytes whose checksums are right and whose contents are not: made on purpose.
TEST(MemoryStateTest, WhatMakesNoSenseIsDroppedWhateverItsChecksum) {
  const std::vector<float> v{1, 0, 0, 0};
  const auto write = [&](const MemoryStateHeader& header, const std::vector<std::pair<int, Episode>>& episodes,
                         const std::vector<float>& key) {
    MemoryStateWriter writer(header, static_cast<int>(episodes.size()));
    for (const auto& [slot, episode] : episodes) writer.add(slot, episode, key, v);
    return writer.take();
  };
  const MemoryStateHeader fine{.width = 4, .slots = 5, .sequence = 3, .next_id = 9, .cleared = true};
  const auto loaded = [&](const std::vector<std::pair<int, Episode>>& episodes, const std::vector<float>& key) {
    TestMemory memory(5);
    const auto report = memory.load(write(fine, episodes, key));
    EXPECT_EQ(report.loaded + report.dropped_slots, static_cast<int>(episodes.size()));
    return report.loaded;
  };
  const Episode good{.id = 1, .strength = 1};
  Episode bad_label = good;
  bad_label.label_length = 1;
  bad_label.label_bytes[0] = '\xff';
  EXPECT_EQ(loaded({{0, good}}, v), 1);
  EXPECT_EQ(loaded({{5, good}}, v), 0);
  EXPECT_EQ(loaded({{-1, good}}, v), 0);
  EXPECT_EQ(loaded({{0, Episode{}}}, v), 0);
  EXPECT_EQ(loaded({{0, {.id = ~std::uint64_t{}}}}, v), 0);
  EXPECT_EQ(loaded({{0, {.id = 1, .strength = NAN}}}, v), 0);
  EXPECT_EQ(loaded({{0, {.id = 1, .created_ms = INFINITY}}}, v), 0);
  EXPECT_EQ(loaded({{0, bad_label}}, v), 0);
  EXPECT_EQ(loaded({{0, good}}, {NAN, 0, 0, 0}), 0);
  EXPECT_EQ(loaded({{0, good}}, {3, 0, 0, 0}), 0);
  EXPECT_EQ(loaded({{0, good}, {0, {.id = 2}}}, v), 1);  // one slot twice
  EXPECT_EQ(loaded({{0, good}, {1, good}}, v), 1);       // one id twice

  TestMemory memory(5);
  for (const MemoryStateHeader& header :
       {MemoryStateHeader{.width = 4, .slots = 0}, MemoryStateHeader{.width = 4, .slots = 1 << 17},
        MemoryStateHeader{.width = 4, .slots = 5, .base = 4, .sequence = 3},
        MemoryStateHeader{.width = 4, .slots = 5, .sequence = ~std::uint64_t{}},
        MemoryStateHeader{.width = 4, .slots = 5, .next_id = 0},
        MemoryStateHeader{.width = 4, .slots = 5, .freed = {5}}}) {
    EXPECT_EQ(load_error(memory, write(header, {}, v)), ErrorCode::invalid_state);
  }
  EXPECT_EQ(load_error(memory, write(fine, {{0, good}, {1, good}, {2, good}, {3, good}, {4, good}, {0, good}}, v)),
            ErrorCode::invalid_state);  // more records than slots
}

TEST(MemoryStateTest, AnyBytesAtAll) {
  Random random(9);
  TestMemory source(6);
  for (int i = 0; i < 5; ++i) source->write(noise(random), noise(random), i);
  const Bytes saved = source->snapshot();
  int loaded = 0;
  for (int round = 0; round < 3000; ++round) {
    Bytes bytes = saved;
    for (std::uint32_t n = 1 + random.next() % 8; n > 0; --n) {
      const std::size_t at = random.next() % bytes.size();
      switch (random.next() % 3) {
        case 0:
          bytes[at] = static_cast<std::uint8_t>(random.next());
          break;
        case 1:
          bytes.erase(bytes.begin() + static_cast<std::ptrdiff_t>(at));
          break;
        default:
          bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at), static_cast<std::uint8_t>(random.next()));
      }
    }
    TestMemory memory(6);
    try {
      const auto report = memory.load(saved, {bytes});
      EXPECT_EQ(report.loaded, 5);
      loaded += memory.load(bytes).loaded;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_state);
    }
  }
  EXPECT_GT(loaded, 100);
}

}  // namespace
}  // namespace bitmar
