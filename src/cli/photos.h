// The photos that the command line names: files, folders and standard input.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace bitmar::cli {

inline constexpr const char* kStandardInput = "-";

// The JPEG and PNG files of a folder and of its folders, by their paths. Of anything else, and of a folder without
// photos, the path itself.
std::vector<std::string> photos_of(const std::string& path);

// Throws missing_file, and image_too_large above kMaxImageFile.
std::vector<std::uint8_t> read_photo(const std::filesystem::path& path);

// A file or, named "-", standard input. Throws missing_file, and invalid_argument above `limit` bytes.
std::vector<std::uint8_t> read_input(const std::filesystem::path& path, std::size_t limit);

}  // namespace bitmar::cli
