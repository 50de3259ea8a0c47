#include "cli/photos.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <iostream>

#include "io/error.h"
#include "io/image.h"
#include "io/model_files.h"

namespace bitmar::cli {

namespace fs = std::filesystem;

namespace {

bool is_photo(const fs::directory_entry& entry) {
  std::string extension = entry.path().extension().string();
  std::ranges::transform(extension, extension.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  std::error_code ignored;
  return (extension == ".jpg" || extension == ".jpeg" || extension == ".png") && entry.is_regular_file(ignored);
}

}  // namespace

std::vector<std::string> photos_of(const std::string& path) {
  std::error_code failed;
  if (path == kStandardInput || !fs::is_directory(path, failed)) return {path};
  std::vector<std::string> photos;
  for (auto entry = fs::recursive_directory_iterator(path, fs::directory_options::skip_permission_denied, failed);
       !failed && entry != fs::recursive_directory_iterator(); entry.increment(failed)) {
    if (is_photo(*entry)) photos.push_back(entry->path().string());
  }
  std::ranges::sort(photos);
  if (photos.empty()) return {path};
  return photos;
}

std::vector<std::uint8_t> read_photo(const fs::path& path) {
  std::error_code failed;
  if (fs::is_directory(path, failed))
    throw Error(ErrorCode::missing_file, "there are no photos in the folder " + path.string());
  try {
    return read_input(path, kMaxImageFile);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::invalid_argument) throw Error(ErrorCode::image_too_large, error.what());
    throw;
  }
}

std::vector<std::uint8_t> read_input(const fs::path& path, std::size_t limit) {
  if (path != kStandardInput) return read_file(path, limit);
  std::vector<std::uint8_t> bytes;
  std::array<char, 1 << 16> part;
  while (std::cin.read(part.data(), part.size()) || std::cin.gcount() > 0) {
    bytes.insert(bytes.end(), part.data(), part.data() + std::cin.gcount());
    if (bytes.size() > limit)
      throw Error(ErrorCode::invalid_argument, "standard input has more than " + std::to_string(limit) + " bytes");
  }
  return bytes;
}

}  // namespace bitmar::cli
