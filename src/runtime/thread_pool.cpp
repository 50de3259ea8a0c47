#include "runtime/thread_pool.h"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <system_error>

namespace bitmar {

namespace {

constexpr int kCountBits = 16;  // of the number of pieces, and of the next one
constexpr std::uint64_t kCountMask = (1u << kCountBits) - 1;

// A thread that finds no work looks for some this often before it sleeps: longer than the steps between two calls of
// the same image take, and much shorter than a slice of a scheduler.
constexpr auto kSpin = std::chrono::microseconds(400);
// Whoever waits for so long beyond the time that the work itself took waits for a thread that does not run.
constexpr auto kPatience = std::chrono::microseconds(500);

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

// In a browser a thread is a worker, which may end by itself: by a trap, or because the browser ended it. One that is
// waited for so long is taken for dead. That ends the program, there by a trap: what the thread should have written is
// missing, and one that is only slow would write it to where something else is by then. Only time in which the caller
// runs counts, so that a computer may sleep meanwhile.
template <class Done>
void spin_until(Done done) {
#ifdef __EMSCRIPTEN__
  using Clock = std::chrono::steady_clock;
  constexpr Clock::duration kLost = std::chrono::seconds(5), kLongestLook = std::chrono::milliseconds(10);
  Clock::duration waited{};
  for (auto last = Clock::now(); !done();) {
    pause();
    const auto now = Clock::now();
    waited += std::min(now - last, kLongestLook);
    last = now;
    if (waited > kLost) std::abort();
  }
#else
  while (!done()) pause();
#endif
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  workers_.reserve(std::max(threads - 1, 0));
  try {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
  } catch (const std::system_error&) {
    // Those that there are.
  } catch (const std::bad_alloc&) {
    // As well: threads that run must not be left without their owner.
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run_shared(int pieces, Call call, void* context) {
  for (; pieces > static_cast<int>(kCountMask); --pieces) call(context, pieces - 1, 0);
  const auto start = Clock::now();
  call_ = call;
  context_ = context;
  done_.store(0, std::memory_order_relaxed);
  const std::uint64_t number = (state_.load(std::memory_order_relaxed) >> 2 * kCountBits) + 1;
  state_.store(number << 2 * kCountBits | static_cast<std::uint64_t>(pieces) << kCountBits);
  if (sleeping_.load() > 0) {
    spin_until([&] { return mutex_.try_lock(); });  // or a thread on its way to sleep would miss it
    mutex_.unlock();
    wake_.notify_all();
  }
  while (take_piece(0)) {
  }
  const auto finished = Clock::now();
  spin_until([&] { return done_.load(std::memory_order_acquire) == pieces; });
  if (Clock::now() - finished > finished - start + kPatience) together_ = false;  // until the next job
}

// False when none is left. A piece that was taken keeps its call from returning, and so call_ as it is.
bool ThreadPool::take_piece(int thread) {
  std::uint64_t state = state_.load(std::memory_order_acquire);
  do {
    if ((state & kCountMask) >= (state >> kCountBits & kCountMask)) return false;
  } while (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel, std::memory_order_acquire));
  call_(context_, static_cast<int>(state & kCountMask), thread);
  done_.fetch_add(1, std::memory_order_release);
  return true;
}

bool ThreadPool::none_left() const {
  const std::uint64_t state = state_.load();
  return (state & kCountMask) >= (state >> kCountBits & kCountMask);
}

void ThreadPool::work(int thread) {
  auto idle_since = Clock::now();
  while (!stop_) {
    if (take_piece(thread)) {
      idle_since = Clock::now();
    } else if (Clock::now() - idle_since < kSpin) {
      pause();
    } else {
      std::unique_lock lock(mutex_);
      ++sleeping_;
      wake_.wait(lock, [this] { return stop_ || !none_left(); });
      --sleeping_;
      idle_since = Clock::now();
    }
  }
}

void ThreadPool::begin() {
  together_ = way_.second();
  job_started_ = Clock::now();
}

void ThreadPool::end() { way_.took(std::chrono::duration<double>(Clock::now() - job_started_).count()); }

}  // namespace bitmar
