#include "memory/episode.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "io/error.h"
#include "io/unicode.h"

namespace bitmar {

namespace {

void check_label_size(std::string_view label) {
  if (label.size() > Episode::kMaxLabel) {
    throw Error(ErrorCode::text_too_long, "a label has at most " + std::to_string(Episode::kMaxLabel) + " bytes");
  }
}

}  // namespace

void Episode::set_label(std::string_view label) {
  check_label_size(label);
  label_length = static_cast<std::uint8_t>(label.size());
  std::fill(std::copy(label.begin(), label.end(), label_bytes), std::end(label_bytes), '\0');
}

void check_label(std::string_view label) {
  check_label_size(label);
  check_utf8(label);
}

void check_time(double ms) {
  if (!(std::abs(ms) <= Episode::kMaxTime)) {
    throw Error(ErrorCode::invalid_argument, "a time must be a number of milliseconds within the calendar");
  }
}

bool is_sound(const Episode& episode) {
  try {
    check_label(episode.label());
    check_time(episode.created_ms);
    check_time(episode.last_used_ms);
  } catch (const Error&) {
    return false;
  }
  return episode.id >= 1 && episode.id < Episode::kMaxId && episode.strength >= 0 && std::isfinite(episode.strength);
}

}  // namespace bitmar
