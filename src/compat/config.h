// config.json of a converted checkpoint (models/bitmar/compat/convert.py): a model_type of its own, "bitmar-compat".
#pragma once

#include <string_view>

namespace bitmar::compat {

struct Config {
  int vocab_size = 0, hidden_size = 0, intermediate_size = 0, num_heads = 0;
  int max_positions = 0;  // tokens of a text, at most
  int end_token_id = 0;   // ends what is generated, and begins a text without a prefix
  int text_layers = 0, decoder_layers = 0, fusion_layers = 0;
  int vision_features = 0, vision_hidden = 0;  // of the one vector that stands for an image, and behind it
  int num_slots = 0;
  bool keep_vision_bias = true;  // a text alone adds the bias of vision_to_episode to its episode

  int head_size() const { return hidden_size / num_heads; }
};

// Whether a config.json says that it is of a converted checkpoint. Of what is no JSON: false.
bool is_compat(std::string_view json);

// Every field must be there and in its range. Throws invalid_config, naming the field.
Config parse_config(std::string_view json);

}  // namespace bitmar::compat
