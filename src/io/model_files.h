// Reads the files of a model directory, natively and under node.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace bitmar {

// Owns what ModelFiles (bitmar/model.h) looks at.
struct ModelDirectory {
  std::string config_json, tokenizer_json, preprocessor_json;
  std::vector<std::uint8_t> safetensors;
};

// Throws missing_file naming the path, or invalid_model where a file is larger than any model's.
ModelDirectory read_model_directory(const std::filesystem::path& folder);

// Any file. Throws missing_file if it cannot be read, invalid_argument if it has more than `limit` bytes.
std::vector<std::uint8_t> read_file(const std::filesystem::path& path, std::size_t limit);

}  // namespace bitmar
