// How far the command line has come, on a terminal's last line.
#pragma once

#include <cstddef>

namespace bitmar::cli {

class ProgressBar {
 public:
  ProgressBar();
  // Nothing for a single one, and where standard error is no terminal.
  void show(std::size_t done, std::size_t total);
  // Before anything else is written.
  void clear();

 private:
  bool shown_;
  bool drawn_ = false;
};

}  // namespace bitmar::cli
