// A model directory on disk, read into memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "model/engine.h"

namespace bitmar {

// Throws missing_file.
std::vector<std::uint8_t> read_file(const std::filesystem::path& path);

struct ModelDirectory {
  explicit ModelDirectory(const std::filesystem::path& path);
  ModelFiles files() const { return {config_json, tokenizer_json, preprocessor_json, safetensors}; }

  std::string config_json, tokenizer_json, preprocessor_json;
  std::vector<std::uint8_t> safetensors;
};

}  // namespace bitmar
