// The engine that benchmarks time: models/default where it is there, else the tiny random model of the tests.
#pragma once

#include <benchmark/benchmark.h>

#include <filesystem>
#include <memory>

#include "io/model_files.h"
#include "model/engine.h"

inline const std::filesystem::path& root() {
  static const std::filesystem::path path = BITMAR_SOURCE_DIR;
  return path;
}

inline std::unique_ptr<bitmar::Engine> load_engine(const bitmar::LoadOptions& options = {}) {
  const std::filesystem::path trained = root() / "models" / "default", tiny = root() / "tests" / "golden" / "tiny";
  const bool there = std::filesystem::exists(trained / "model.safetensors");
  return bitmar::Engine::load(bitmar::files_of(bitmar::read_model_directory(there ? trained : tiny)), options);
}

inline bitmar::Engine& engine() {
  static const auto loaded = load_engine();
  return *loaded;
}
