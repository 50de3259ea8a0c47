#include "bitmar/image.h"

#include "io/model_files.h"

namespace bitmar {

Image read_image(const std::filesystem::path& path) { return decode_image(read_file(path, kMaxImageFile)); }

}  // namespace bitmar
