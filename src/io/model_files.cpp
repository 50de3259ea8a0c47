#include "io/model_files.h"

#include <fstream>
#include <string_view>
#include <system_error>

#include "io/error.h"

namespace bitmar {

namespace {

// Many times what a model for web pages has, and still harmless to read.
constexpr std::size_t kMaxJson = 8 << 20;
constexpr std::size_t kMaxWeights = 512 << 20;

std::string read_text(const std::filesystem::path& path) {
  const std::vector<std::uint8_t> bytes = read_file(path, kMaxJson);
  return {bytes.begin(), bytes.end()};
}

}  // namespace

std::vector<std::uint8_t> read_file(const std::filesystem::path& path, std::size_t limit) {
  std::error_code failed;
  // The system would read the name up to there, which is another file's.
  if (path.native().find('\0') != std::filesystem::path::string_type::npos)
    throw Error(ErrorCode::missing_file, "a file's name has no NUL in it: " + path.string());
  // A folder, a pipe or a device can be opened too, and would be read for ever, or not at all.
  if (!std::filesystem::is_regular_file(path, failed)) {
    const bool other = std::filesystem::exists(path, failed);
    throw Error(ErrorCode::missing_file, other ? path.string() + " is no file, but a folder, a pipe or a device"
                                               : "there is no file " + path.string());
  }
  const std::uintmax_t size = std::filesystem::file_size(path, failed);
  std::ifstream stream(path, std::ios::binary);
  if (failed || !stream) throw Error(ErrorCode::missing_file, path.string() + " cannot be read");
  if (size > limit) {
    throw Error(ErrorCode::invalid_argument, path.string() + " has more than " + std::to_string(limit) + " bytes");
  }
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(size));
  stream.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size));
  if (static_cast<std::uintmax_t>(stream.gcount()) != size)
    throw Error(ErrorCode::missing_file, path.string() + " cannot be read");
  return bytes;
}

ModelDirectory read_model_directory(const std::filesystem::path& folder) {
  try {
    return {.config_json = read_text(folder / "config.json"),
            .tokenizer_json = read_text(folder / "tokenizer.json"),
            .preprocessor_json = read_text(folder / "preprocessor_config.json"),
            .safetensors = read_file(folder / "model.safetensors", kMaxWeights)};
  } catch (const Error& error) {
    if (error.code() == ErrorCode::invalid_argument) throw Error(ErrorCode::invalid_model, error.what());
    throw;
  }
}

}  // namespace bitmar
