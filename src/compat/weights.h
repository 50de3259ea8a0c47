// Every tensor of a converted checkpoint, by the names of the authors' state_dict.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compat/config.h"
#include "io/safetensors.h"
#include "kernels/kernels.h"

namespace bitmar::compat {

// d hidden_size, V vocab_size, P max_positions, K num_slots.

struct Linear {                      // y = x^ (scale * t)^T + bias
  PackedTernary weight;              // [out, in] in {-1, 0, 1}, with rows of zeros up to a multiple of 4
  std::vector<std::int32_t> sums{};  // [out] of each row
  float scale = 0;
  std::vector<float> bias{};  // [out], or empty
  int in = 0, out = 0;
};

struct Norm {
  std::vector<float> weight, bias;  // [n]
};

struct Block {
  Norm norm1;
  Linear q_proj, k_proj, v_proj, out_proj;  // [d, d]
  Norm norm2;
  Linear fc1, fc2;  // [intermediate, d], [d, intermediate]
  Norm mlp_norm;
};

struct Transformer {
  std::vector<float> positions;  // [P, d]
  std::vector<Block> blocks;
  Norm norm;
};

struct VisionLayer {
  Linear linear;
  Norm norm;
};

struct FusionLayer {        // of its attention to one key only what a query does not change
  Linear v_proj, out_proj;  // [d, d]
  Norm norm;
};

struct MemoryNet {  // y = second(GELU(norm(first(x)))) + x
  Linear first;
  Norm norm;
  Linear second;
};

struct Memory {
  std::vector<float> slots;       // [K, d]
  std::vector<float> importance;  // [K], not negative
  std::vector<float> mean, std;   // [d] of the episodes written, the latter not negative
  float writes = 0;               // so far
  float temperature = 0;          // of the attention to slots
  MemoryNet query_net, key_net, value_net;
};

struct Weights {
  std::vector<float> tokens;  // [V, d]
  Transformer text_encoder, decoder;
  Linear lm_head;                   // [V, d]
  std::vector<VisionLayer> vision;  // [vision_hidden, vision_features], [vision_hidden, vision_hidden]
  Linear vision_proj;               // [d, vision_hidden]
  Linear fusion_text_proj, fusion_vision_proj, fusion_output_proj;
  std::vector<FusionLayer> fusion;
  Memory memory;
  Linear text_to_episode, vision_to_episode, memory_to_decoder, decoder_input_proj;

  // Copies what it needs, in the form that suits the kernels. Throws invalid_model, naming the tensor: one that is
  // missing, of another type or shape, not finite, or no part of such a model.
  Weights(const Config& config, const SafeTensors& file, const Kernels& kernels);
};

}  // namespace bitmar::compat
