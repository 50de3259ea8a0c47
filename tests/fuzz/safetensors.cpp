// The container of weights.
#include "io/safetensors.h"

#include "fuzz.h"

void bitmar::fuzz(Input input) {
  const SafeTensors file = SafeTensors::parse(input);
  std::size_t bytes = 0;
  for (const auto& [name, tensor] : file.tensors()) {
    require(file.find(name) == &tensor);
    require(tensor.elements() * size_of(tensor.dtype) == tensor.data.size());
    bytes += tensor.data.size();
    if (!tensor.data.empty()) require(&tensor.data.front() >= input.data() && &tensor.data.back() <= &input.back());
  }
  require(bytes < input.size());
}
