#include "model/model_directory.h"

#include <fstream>
#include <iterator>

#include "io/error.h"

namespace bitmar {

std::vector<std::uint8_t> read_file(const std::filesystem::path& path) {
  std::error_code error;
  std::ifstream file;
  // Opening a directory succeeds; reading it does not.
  if (!std::filesystem::is_directory(path, error)) file.open(path, std::ios::binary);
  if (!file.is_open()) throw Error(ErrorCode::missing_file, path.string() + " cannot be opened");
  return {std::istreambuf_iterator<char>(file), {}};
}

namespace {

std::string read_text(const std::filesystem::path& path) {
  const std::vector<std::uint8_t> bytes = read_file(path);
  return {bytes.begin(), bytes.end()};
}

}  // namespace

ModelDirectory::ModelDirectory(const std::filesystem::path& path)
    : config_json(read_text(path / "config.json")),
      tokenizer_json(read_text(path / "tokenizer.json")),
      preprocessor_json(read_text(path / "preprocessor_config.json")),
      safetensors(read_file(path / "model.safetensors")) {}

}  // namespace bitmar
