// Model directories on disk, whole and with files missing.
#include "io/model_files.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "io/config.h"
#include "io/error.h"
#include "io/safetensors.h"
#include "io/tokenizer.h"

namespace bitmar {
namespace {

namespace fs = std::filesystem;

const fs::path kTiny = BITMAR_SOURCE_DIR "/tests/golden/tiny";

std::string error_of(const fs::path& folder) {
  try {
    read_model_directory(folder);
    return "none";
  } catch (const Error& error) {
    return std::string(to_string(error.code())) + ": " + error.what();
  }
}

TEST(ModelFiles, ReadsADirectory) {
  const ModelDirectory files = read_model_directory(kTiny);
  const Config config = parse_config(files.config_json);
  check_preprocessor(files.preprocessor_json, config);
  EXPECT_EQ(Tokenizer::parse(files.tokenizer_json).size(), config.vocab_size);
  const SafeTensors tensors = SafeTensors::parse(files.safetensors);
  EXPECT_TRUE(tensors.find("embedding.weight"));
}

TEST(ModelFiles, NamesTheFileThatIsMissing) {
  const fs::path folder = fs::path(testing::TempDir()) / "bitmar_model_files_test";
  fs::remove_all(folder);
  EXPECT_NE(error_of(folder).find("missing_file"), std::string::npos);
  for (const char* name : {"config.json", "tokenizer.json", "preprocessor_config.json", "model.safetensors"}) {
    const std::string error = error_of(folder);
    EXPECT_TRUE(error.starts_with("missing_file: ") && error.ends_with(name)) << error;
    fs::create_directories(folder / name);
    EXPECT_EQ(error_of(folder),
              "missing_file: " + (folder / name).string() + " is no file, but a folder, a pipe or a device");
    fs::remove(folder / name);
    fs::copy_file(kTiny / name, folder / name);
  }
  EXPECT_EQ(error_of(folder), "none");
  fs::remove_all(folder);
}

TEST(ModelFiles, RefusesFilesLargerThanTheLimit) {
  EXPECT_NO_THROW(read_file(kTiny / "config.json", 1 << 20));
  EXPECT_THROW(read_file(kTiny / "config.json", 10), Error);
}

}  // namespace
}  // namespace bitmar
