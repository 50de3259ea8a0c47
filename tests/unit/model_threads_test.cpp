// What threads share: a model's own, and what several models use at once. ThreadSanitizer runs these too.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "random_model.h"
#include "runtime/thread_pool.h"

namespace bitmar {
namespace {

TEST(Threads, ShareThePictureAndGiveTheSameBits) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    RandomModel model(seed);
    const auto picture = model.picture();
    const auto one = Engine::load(files_of(model.files()));
    const auto wanted = one->caption(picture.view(), {.max_tokens = 4});
    for (const int threads : {2, 4}) {
      const auto together = Engine::load(files_of(model.files()), {.threads = threads});
      for (int round = 0; round < 3; ++round) {
        together->model().forget_inputs();
        const auto result = together->caption(picture.view(), {.max_tokens = 4});
        ASSERT_EQ(result.tokens, wanted.tokens) << "seed " << seed << ", " << threads << " threads";
        ASSERT_EQ(result.log_probability, wanted.log_probability) << "seed " << seed;
      }
    }
  }
}

// Engines know nothing of each other, and the decoder's limit is each thread's own.
TEST(Threads, HaveEnginesOfTheirOwn) {
  if (ThreadPool(2).threads() < 2) GTEST_SKIP() << "no threads here";
  const std::string images = BITMAR_SOURCE_DIR "/tests/golden/images/";
  const auto photo = read_file(images + "progressive.jpg", 1 << 20), small = read_file(images + "grey.png", 1 << 20);
  const auto wanted = load_tiny()->caption(decode_image(photo).view(), {.max_tokens = 4});
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      const auto engine = load_tiny();
      for (int round = 0; round < 10; ++round) {
        decode_image(small);
        const auto result = engine->caption(decode_image(photo).view(), {.max_tokens = 4});
        if (result.tokens != wanted.tokens || result.log_probability != wanted.log_probability) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace bitmar
