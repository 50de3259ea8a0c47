// Threads that help with work in independent pieces, and get out of the way where they do not help.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "runtime/faster_way.h"

namespace bitmar {

// Every thread takes the next piece when it is done with its last one, the caller too, so that the work is done
// however little the others get to run. What remains is a piece that was taken by a thread that then lost its core to
// another process: a caller that had to wait long for one does the rest of its job alone, and jobs that take longer
// together than alone are done alone (FasterWay). One caller at a time.
class ThreadPool {
 public:
  // At least one: the caller's own. Where the system gives fewer, there are fewer.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // As many as now work together.
  int team() const { return together_ ? threads() : 1; }

  // A job is always the same work, in any number of calls of run(). Times are compared from job to job.
  class Job {
   public:
    explicit Job(ThreadPool& pool) : pool_(pool) { pool.begin(); }
    ~Job() { pool_.end(); }
    Job(const Job&) = delete;
    Job& operator=(const Job&) = delete;

   private:
    ThreadPool& pool_;
  };

  // task(piece, thread) for every piece below `pieces`, thread below threads(); returns when all are done. Tasks do
  // not throw.
  template <class Task>
  void run(int pieces, Task&& task) {
    if (team() == 1 || pieces < 2) {
      for (int i = 0; i < pieces; ++i) task(i, 0);
      return;
    }
    using T = std::remove_reference_t<Task>;
    run_shared(
        pieces, [](void* context, int piece, int thread) { (*static_cast<T*>(context))(piece, thread); },
        const_cast<std::remove_const_t<T>*>(&task));
  }

 private:
  using Clock = std::chrono::steady_clock;
  using Call = void (*)(void* context, int piece, int thread);

  void begin();
  void end();
  void run_shared(int pieces, Call call, void* context);
  bool take_piece(int thread);
  bool none_left() const;
  void work(int thread);

  std::vector<std::thread> workers_;
  // Number of the call in the upper half, then its pieces, then the next one of them: one word, so that a thread that
  // comes late cannot take a piece of another call than it looked at.
  std::atomic<std::uint64_t> state_ = 0;
  std::atomic<int> done_ = 0;
  Call call_ = nullptr;
  void* context_ = nullptr;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<int> sleeping_ = 0;
  std::atomic<bool> stop_ = false;

  bool together_ = true;
  FasterWay way_;  // alone, or together
  Clock::time_point job_started_{};
};

}  // namespace bitmar
