#include "cli/progress.h"

#include <iostream>
#include <string>

#if __has_include(<unistd.h>)
#include <unistd.h>
#endif

namespace bitmar::cli {

namespace {

constexpr std::size_t kWidth = 30;

bool terminal() {
#if __has_include(<unistd.h>)
  return isatty(STDERR_FILENO) == 1;
#else
  return false;
#endif
}

}  // namespace

ProgressBar::ProgressBar() : shown_(terminal()) {}

void ProgressBar::show(std::size_t done, std::size_t total) {
  if (!shown_ || total <= 1) return;
  const std::size_t filled = kWidth * done / total;
  std::cerr << "\r[" << std::string(filled, '#') << std::string(kWidth - filled, '.') << "] " << done << "/" << total
            << "\x1b[K" << std::flush;
  drawn_ = true;
}

void ProgressBar::clear() {
  if (drawn_) std::cerr << "\r\x1b[K" << std::flush;
  drawn_ = false;
}

}  // namespace bitmar::cli
