// The tiny random model of tests/golden/tiny, and its golden vectors.
#pragma once

#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "io/model_files.h"
#include "io/safetensors.h"
#include "model/engine.h"

namespace bitmar {

inline std::filesystem::path tiny_folder() {
  return std::filesystem::path(BITMAR_SOURCE_DIR) / "tests" / "golden" / "tiny";
}

inline std::unique_ptr<Engine> load_tiny(const Kernels& with = kernels(), const LoadOptions& options = {}) {
  return Engine::load(files_of(read_model_directory(tiny_folder())), options, with);
}

struct Golden {
  Golden() : bytes(read_file(tiny_folder() / "golden.safetensors", 1 << 20)), file(SafeTensors::parse(bytes)) {}

  template <class T>
  std::vector<T> values(const std::string& name) const {
    const Tensor* tensor = file.find(name);
    if (!tensor) throw std::out_of_range("no golden " + name);
    std::vector<T> v(tensor->data.size() / sizeof(T));
    if (!v.empty()) std::memcpy(v.data(), tensor->data.data(), tensor->data.size());
    return v;
  }
  std::string text(const std::string& name) const {
    const auto v = values<char>(name);
    return {v.begin(), v.end()};
  }

  std::vector<std::uint8_t> bytes;
  SafeTensors file;
};

}  // namespace bitmar
