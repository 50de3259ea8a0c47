// What is checked of an episode wherever it comes from: a caller, a file, an import.
#pragma once

#include <string_view>

#include "bitmar/memory.h"

namespace bitmar {

// Throws text_too_long, invalid_text.
void check_label(std::string_view label);

// A time in milliseconds. Throws invalid_argument of what no calendar has.
void check_time(double ms);

// Whether an episode could have been written here, its key and value left aside.
bool is_sound(const Episode& episode);

}  // namespace bitmar
