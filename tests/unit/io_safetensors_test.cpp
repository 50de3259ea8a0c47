// The container of weights, and what must not get through it.
#include "io/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "io/error.h"

namespace bitmar {
namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes file_of(const std::string& header, std::size_t body, std::uint64_t length) {
  Bytes file;
  for (int i = 0; i < 8; ++i) file.push_back(static_cast<std::uint8_t>(length >> (8 * i)));
  file.insert(file.end(), header.begin(), header.end());
  for (std::size_t i = 0; i < body; ++i) file.push_back(static_cast<std::uint8_t>(i));
  return file;
}

// Padded to whole words, as writers do.
Bytes file_of(std::string header, std::size_t body) {
  header.resize((header.size() + 7) / 8 * 8, ' ');
  return file_of(header, body, header.size());
}

void expect_error(const Bytes& file, ErrorCode code, const std::string& words) {
  try {
    SafeTensors::parse(file);
    ADD_FAILURE() << "accepted; expected: " << words;
  } catch (const Error& error) {
    EXPECT_EQ(to_string(error.code()), to_string(code)) << error.what();
    EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
  }
}

TEST(SafeTensors, FindsTensorsByName) {
  const Bytes file = file_of(
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
      R"("b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]},"scalar":{"dtype":"I8","shape":[],"data_offsets":[11,12]}})",
      12);
  const SafeTensors tensors = SafeTensors::parse(file);
  EXPECT_EQ(tensors.tensors().size(), 3u);
  const Tensor* a = tensors.find("a");
  ASSERT_TRUE(a);
  EXPECT_EQ(a->dtype, DType::f32);
  EXPECT_EQ(a->shape, (std::vector<std::int64_t>{2, 1}));
  EXPECT_EQ(a->elements(), 2u);
  ASSERT_TRUE(tensors.find("b"));
  EXPECT_EQ(tensors.find("b")->data[0], 8);
  ASSERT_TRUE(tensors.find("scalar"));
  EXPECT_EQ(tensors.find("scalar")->elements(), 1u);
  EXPECT_FALSE(tensors.find("c"));
}

std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"a":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
}

TEST(SafeTensors, RefusesWhatIsNotTrue) {
  const auto invalid = [](const std::string& header, const std::string& words) {
    SCOPED_TRACE(header);
    expect_error(file_of(header, 8), ErrorCode::invalid_model, words);
  };
  EXPECT_NO_THROW(SafeTensors::parse(file_of(one(R"("F32")", "[2]", "[0,8]"), 8)));
  invalid("[]", "no JSON object");
  invalid("{", "not JSON");
  invalid(R"({"a":1})", "is no object");
  invalid(R"({"__metadata__":1})", "__metadata__");
  invalid(R"({"a":{"dtype":"U8","shape":[8]}})", "lacks one");
  invalid(R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8],"x":1}})", "unknown field");
  invalid(one("7", "[2]", "[0,8]"), "dtype");
  invalid(one(R"("F32")", "2", "[0,8]"), "short list");
  invalid(one(R"("F32")", "[1,1,1,1,1,1,1,1,2]", "[0,8]"), "short list");
  invalid(one(R"("F32")", "[2.0]", "[0,8]"), "natural");
  invalid(one(R"("F32")", "[-2]", "[0,8]"), "natural");
  invalid(one(R"("F32")", "[\"2\"]", "[0,8]"), "natural");
  invalid(one(R"("F32")", "[4294967296,4294967296]", "[0,0]"), "beyond");
  invalid(one(R"("F32")", "[2147483647,2147483647,2147483647]", "[0,8]"), "overflows");
  invalid(one(R"("U8")", "[8]", "[0]"), "no pair");
  invalid(one(R"("U8")", "[8]", "[-8,0]"), "natural");
  invalid(one(R"("U8")", "[8]", "[8,0]"), "before it begins");
  invalid(one(R"("F32")", "[3]", "[0,8]"), "number of bytes");
  invalid(one(R"("U8")", "[7]", "[0,7]"), "belong to no tensor");
  invalid(one(R"("U8")", "[7]", "[1,8]"), "gap");
  invalid(one(R"("U8")", "[9]", "[0,9]"), "beyond the end");
  invalid(one(R"("U8")", "[8]", "[18446744073709551608,18446744073709551616]"), "natural");
  invalid(
      R"({"a":{"dtype":"U8","shape":[5],"data_offsets":[0,5]},"b":{"dtype":"U8","shape":[5],"data_offsets":[3,8]}})",
      "overlaps");
  invalid(
      R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
      "twice");
  invalid(
      R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"I8","shape":[4],"data_offsets":[0,4]}})",
      "overlaps");
  invalid(R"({"a":)" + std::string(100'000, '['), "deeply");
  expect_error(file_of(one(R"("BF16")", "[4]", "[0,8]"), 8), ErrorCode::unsupported_tensor_type, "BF16");
  expect_error(file_of(one(R"("F64")", "[1]", "[0,8]"), 8), ErrorCode::unsupported_tensor_type, "F64");
}

// The format promises no alignment: neither that headers are padded, nor that wide types come first.
TEST(SafeTensors, TakesTensorsAtAnyAddress) {
  const std::string header =
      R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})";
  for (std::size_t pad = 0; pad < 4; ++pad) {
    Bytes file = file_of(header + std::string(pad, ' '), 5, header.size() + pad);
    const float wanted = 1.5f;
    std::memcpy(file.data() + file.size() - 4, &wanted, 4);
    const SafeTensors tensors = SafeTensors::parse(file);
    float value = 0;
    std::memcpy(&value, tensors.find("b")->data.data(), 4);
    EXPECT_EQ(value, wanted);
  }
}

TEST(SafeTensors, RefusesAHeaderThatTheFileDoesNotHold) {
  expect_error({}, ErrorCode::invalid_model, "shorter");
  expect_error(Bytes(7), ErrorCode::invalid_model, "shorter");
  expect_error(Bytes(8), ErrorCode::invalid_model, "no JSON object");
  expect_error(file_of("{}", 0, 3), ErrorCode::invalid_model, "within its header");
  expect_error(file_of("{}", 0, ~std::uint64_t{0}), ErrorCode::invalid_model, "longer than any");
  expect_error(file_of("{}", 0, ~std::uint64_t{0} - 7), ErrorCode::invalid_model, "longer than any");
}

// Whatever is done to a real file: parsed or an Error, and no tensor outside of the file.
TEST(SafeTensors, SurvivesDamage) {
  std::ifstream stream(BITMAR_SOURCE_DIR "/tests/golden/tiny/model.safetensors", std::ios::binary);
  const Bytes whole((std::istreambuf_iterator<char>(stream)), {});
  ASSERT_FALSE(whole.empty());
  std::size_t header = 0;
  for (int i = 0; i < 8; ++i) header |= std::size_t{whole[i]} << (8 * i);
  const SafeTensors parsed = SafeTensors::parse(whole);
  EXPECT_GT(parsed.tensors().size(), 50u);
  for (std::size_t size = 0; size < whole.size(); size += 97) {
    const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_THROW(SafeTensors::parse(cut), Error) << size;
  }
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    Bytes file = whole;
    for (auto n = 1 + random() % 3; n; --n) {
      file[random() % (8 + header)] =
          static_cast<std::uint8_t>(random() % 2 ? random() : "0123456789[]{}\","[random() % 16]);
    }
    try {
      const SafeTensors tensors = SafeTensors::parse(file);
      for (const auto& [name, tensor] : tensors.tensors()) {
        ASSERT_LE(tensor.data.data() + tensor.data.size(), file.data() + file.size());
      }
    } catch (const Error&) {
    }
  }
}

}  // namespace
}  // namespace bitmar
