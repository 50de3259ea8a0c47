#include "runtime/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

#include "runtime/faster_way.h"

namespace bitmar {
namespace {

TEST(ThreadPool, DoesEveryPieceOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_GE(pool.threads(), 1);
    EXPECT_LE(pool.threads(), threads);
    for (int pieces = 0; pieces < 200; ++pieces) {
      std::vector<int> done(pieces, 0);
      std::atomic<bool> strange = false;
      pool.run(pieces, [&](int piece, int thread) {
        ++done[piece];  // of one thread alone, or the sanitizers and the counts would tell
        if (thread < 0 || thread >= pool.threads()) strange = true;
      });
      EXPECT_EQ(done, std::vector<int>(pieces, 1)) << threads << " threads";
      EXPECT_FALSE(strange);
    }
  }
}

TEST(ThreadPool, DoesMorePiecesThanFitIntoItsCounter) {
  ThreadPool pool(2);
  std::vector<int> done(70'001, 0);
  pool.run(static_cast<int>(done.size()), [&](int piece, int) { ++done[piece]; });
  EXPECT_EQ(std::accumulate(done.begin(), done.end(), 0), 70'001);
}

TEST(ThreadPool, SharesAPieceOfScratchWithNobody) {
  ThreadPool pool(4);
  std::vector<std::atomic<int>> using_it(pool.threads());
  std::atomic<int> clashes = 0;
  for (int round = 0; round < 200; ++round) {
    pool.run(16, [&](int, int thread) {
      if (using_it[thread]++ != 0) ++clashes;
      --using_it[thread];
    });
  }
  EXPECT_EQ(clashes, 0);
}

TEST(ThreadPool, WakesThreadsThatSleep) {
  ThreadPool pool(2);
  if (pool.threads() < 2) GTEST_SKIP() << "no threads here";
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // longer than they look for work
  // Each piece waits for the other one, which begins only if there are two who work.
  std::atomic<int> begun = 0, met = 0;
  const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  pool.run(2, [&](int, int) {
    ++begun;
    while (begun < 2 && std::chrono::steady_clock::now() < patience) std::this_thread::yield();
    met += begun == 2;
  });
  EXPECT_EQ(met, 2);
}

// The other thread is held up for longer in every try, until it is longer than whatever else holds up the caller: a
// busy machine costs tries, and never the test.
TEST(ThreadPool, DoesAJobAloneWhoseOtherThreadIsHeldUp) {
  bool alone = false;
  for (auto held_up = std::chrono::milliseconds(5); !alone && held_up < std::chrono::seconds(5); held_up *= 2) {
    ThreadPool pool(2);  // a new one, which has not found out yet that it is slow
    if (pool.threads() < 2) GTEST_SKIP() << "no threads here";
    {
      const ThreadPool::Job job(pool);
      std::atomic<bool> begun = false;
      pool.run(2, [&](int, int thread) {
        if (thread == 0) {
          while (!begun) std::this_thread::yield();
        } else {
          begun = true;
          std::this_thread::sleep_for(held_up);
        }
      });
      alone = pool.team() == 1;
      if (!alone) continue;
      std::atomic<int> others = 0;
      pool.run(50, [&](int, int thread) { others += thread > 0; });
      EXPECT_EQ(others, 0);  // the rest of the job
    }
    const ThreadPool::Job next(pool);
    EXPECT_EQ(pool.team(), 2);
  }
  EXPECT_TRUE(alone);
}

// ---- Which way is the faster one ----

struct Share {
  int second = 0, of = 0;
};

// How many of `jobs` were done the second way, when they take so long.
template <class Time>
Share jobs_done(FasterWay& way, int jobs, const Time& time) {
  Share share;
  for (int i = 0; i < jobs; ++i) {
    share.second += way.second();
    ++share.of;
    way.took(time(way.second(), i));
  }
  return share;
}

TEST(FasterWay, StaysWithTheFasterOne) {
  FasterWay way;
  EXPECT_TRUE(way.second());
  EXPECT_GE(jobs_done(way, 1000, [](bool second, int) { return second ? 6.0 : 10.0; }).second, 960);
  FasterWay other;
  EXPECT_LE(jobs_done(other, 1000, [](bool second, int) { return second ? 12.0 : 10.0; }).second, 40);
}

TEST(FasterWay, TakesTheFirstWhereBothAreTheSame) {
  FasterWay way;
  EXPECT_LE(jobs_done(way, 1000, [](bool, int) { return 10.0; }).second, 40);
}

TEST(FasterWay, NoticesThatThingsHaveChanged) {
  FasterWay way;
  const auto quiet = [](bool second, int) { return second ? 6.0 : 10.0; };
  const auto busy = [](bool second, int) { return second ? 20.0 : 10.0; };
  jobs_done(way, 1000, quiet);
  EXPECT_LE(jobs_done(way, 20, busy).second, 8);  // at once
  EXPECT_LE(jobs_done(way, 1000, busy).second, 40);
  int waited = 0;
  for (; !way.second(); ++waited) way.took(quiet(false, 0));
  EXPECT_LE(waited, 128);
  EXPECT_EQ(jobs_done(way, 10, quiet).second, 10);  // from the first trial on
}

TEST(FasterWay, CutsATrialShortThatIsLost) {
  FasterWay way;
  const int tried = 1000 - jobs_done(way, 1000, [](bool second, int) { return second ? 6.0 : 10.0; }).second;
  FasterWay close;
  const int tried_closely = 1000 - jobs_done(close, 1000, [](bool second, int) { return second ? 6.0 : 7.0; }).second;
  EXPECT_EQ(tried_closely, 3 * tried);
}

TEST(FasterWay, IsNotLedAstrayByOneSlowJob) {
  FasterWay way;
  const auto time = [](bool second, int i) { return i % 40 == 39 ? 200.0 : second ? 6.0 : 10.0; };
  EXPECT_GE(jobs_done(way, 2000, time).second, 1800);
}

}  // namespace
}  // namespace bitmar
