// The safetensors container: named arrays in one file, checked before any of them is used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bitmar {

enum class DType { u8, i8, i32, f16, f32 };

std::size_t size_of(DType type);

struct Tensor {
  DType dtype = DType::u8;
  std::vector<std::int64_t> shape;
  std::span<const std::uint8_t> data;  // of the parsed file, at any address: to be copied, not cast

  std::size_t elements() const { return data.size() / size_of(dtype); }
};

class SafeTensors {
 public:
  // Looks into `file`, which must stay. Throws invalid_model, or unsupported_tensor_type.
  static SafeTensors parse(std::span<const std::uint8_t> file);

  const Tensor* find(std::string_view name) const;  // nullptr: there is none
  const std::map<std::string, Tensor, std::less<>>& tensors() const& { return tensors_; }
  void tensors() const&& = delete;  // would be gone before it is looked at

 private:
  std::map<std::string, Tensor, std::less<>> tensors_;
};

}  // namespace bitmar
