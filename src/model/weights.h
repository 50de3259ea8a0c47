// Every tensor of the model by name, bound from a safetensors file and checked against the config.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "io/config.h"
#include "io/safetensors.h"
#include "kernels/kernels.h"

namespace bitmar {

// d hidden_size, P patches (grid_size^2), C memory width, V vocab_size.

struct Linear {          // y = (int8(x) . t) * activation scale * scale
  std::string name;      // as in the file, without ".weight"
  PackedTernary weight;  // [out, in] in {-1, 0, 1}
  float scale = 0;       // gamma
  int in = 0, out = 0;
};

using Norm = std::vector<float>;  // [n]

inline constexpr int kWinogradSize = 64;  // pixels of a line of output, at most

struct Convolution {  // y = product * scales * affine_scale + affine_bias, then ReLU if `relu`
  std::string name;
  int kernel_size = 0, stride = 1;
  bool relu = false;
  int in_channels = 0, out_channels = 0;
  Linear ternary{};                        // [out, kh * kw * in]; its weight is in `winograd` instead, or empty, if
  WinogradFilter winograd{};               // the kernels have that and the inputs fit it. Of the first layer int8:
  std::vector<std::int8_t> int8_weight{};  // [out, kh * kw * in]
  std::vector<float> int8_scale{};         // [out]
  std::vector<float> affine_scale{};       // [out]
  std::vector<float> affine_bias{};        // [out]
};

struct StemLayer {
  StemLayerConfig config;
  int in_channels = 0, out_channels = 0;
  std::vector<Convolution> convolutions{};  // one, or the two of a residual
  std::vector<Norm> norms{};                // [channels], before each convolution of a residual
};

struct AttentionWeights {
  Linear q_proj, k_proj, v_proj, o_proj;  // [width, width]
  Norm sub_norm;                          // [width]
};

struct FeedForwardWeights {
  Linear up_proj;    // [intermediate, width]
  Norm sub_norm;     // [intermediate]
  Linear down_proj;  // [width, intermediate]
};

struct EncoderLayerWeights {
  Norm attention_norm;  // [width]
  AttentionWeights attention;
  Norm ffn_norm;  // [width]
  FeedForwardWeights ffn;
};

struct VisionWeights {
  std::vector<StemLayer> stem;
  std::vector<float> position_embedding;  // [P, vision width]
  std::vector<EncoderLayerWeights> layers;
  Norm norm;            // [vision width]
  Linear feature_proj;  // [features, vision width]
};

struct CompressorWeights {
  Linear fc1;  // [hidden, features]
  Linear fc2;  // [d, hidden]
  Norm norm;   // [d]
};

struct TextEncoderWeights {
  std::vector<EncoderLayerWeights> layers;
  Norm norm;  // [d]
};

struct FusionLayerWeights {
  Norm norm;  // [d]
  AttentionWeights attention;
};

struct FusionWeights {
  std::vector<FusionLayerWeights> layers;
  Norm norm;  // [d]
};

struct MemoryWeights {
  Linear query_proj, value_proj;  // [C, d]
  Linear out_proj;                // [d, C]
  Norm out_norm;                  // [d]
};

struct DecoderLayerWeights {
  Norm attention_norm;  // [d]
  AttentionWeights attention;
  Linear conditioning_k, conditioning_v;  // [d, d]
  Norm ffn_norm;                          // [d]
  FeedForwardWeights ffn;
};

struct DecoderWeights {
  std::vector<DecoderLayerWeights> layers;
  Norm norm;  // [d]
};

struct EmbeddingWeights {           // the table of tokens, and the head that scores them
  std::vector<std::int8_t> weight;  // [V, d]
  std::vector<float> scale;         // [V]
};

struct BagOfWordsWeights {
  std::vector<float> center, scale;  // [2 features + 2 d]
  Linear proj;                       // [d, 2 features + 2 d]
  std::vector<float> bias, rarity;   // [V]
};

struct Weights {
  VisionWeights vision;  // empty when the model takes features
  CompressorWeights compressor;
  EmbeddingWeights embedding;
  TextEncoderWeights text_encoder;
  FusionWeights fusion;
  MemoryWeights memory;
  DecoderWeights decoder;
  BagOfWordsWeights bag_of_words;  // empty in models without the head
  std::size_t bytes = 0;           // held in memory
  std::size_t parameters = 0;      // elements of the file's tensors, packed ones counted unpacked

  // Copies what it needs, in the form that suits the kernels that will run: the file's bytes may go afterwards. Throws
  // invalid_model.
  Weights(const Config& config, const SafeTensors& file, const Kernels& kernels);
};

}  // namespace bitmar
