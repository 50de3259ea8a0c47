// Converted checkpoints (src/compat), from the command line. Their image is a vector: a file of float32, little-endian.
#pragma once

#include <filesystem>
#include <vector>

#include "cli/arguments.h"
#include "compat/text_model.h"

namespace bitmar::cli {

// Whether the folder's config.json says so. Throws missing_file if there is none, and
// invalid_config if it is no JSON.
bool is_converted(const std::filesystem::path& folder);

// Throw UsageError for options that do nothing here, what TextModel throws, and missing_file or invalid_argument for
// the vector.
std::vector<Score> scores_of_converted(const std::filesystem::path& folder, const Arguments& arguments);
compat::TextModel::Completion complete_by_converted(const std::filesystem::path& folder, const Arguments& arguments);

}  // namespace bitmar::cli
